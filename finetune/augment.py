"""What training does to its clips, on the device that trains."""

from __future__ import annotations

import torch
from torch.nn.functional import affine_grid, grid_sample

CROP_AREA = (0.5, 1.0)  # of the frame
CROP_ASPECT = 4 / 3  # widest to tallest
GAIN = 0.4  # brightness and contrast change by up to this much
NOISE = 6.0  # grey levels, standard deviation at most


def augment(pixels: torch.Tensor) -> torch.Tensor:
    """Every frame of a clip cut, mirrored and lit alike; time reversed for half of the clips.

    Args:
        pixels: uint8 or float (B, T, H, W, 3) in 0..255.

    Returns:
        float32, the same shape and range.
    """
    batch, frames, height, width, channels = pixels.shape

    def draw(low: float, high: float) -> torch.Tensor:
        return torch.empty(batch, device=pixels.device).uniform_(low, high)

    area, aspect = draw(*CROP_AREA), CROP_ASPECT ** draw(-1, 1)
    scale_x, scale_y = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    mirror = draw(-1, 1).sign()
    theta = torch.zeros(batch, 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 0, 2] = scale_x * mirror, draw(-1, 1) * (1 - scale_x)
    theta[:, 1, 1], theta[:, 1, 2] = scale_y, draw(-1, 1) * (1 - scale_y)

    planes = pixels.float().permute(0, 1, 4, 2, 3).reshape(batch, frames * channels, height, width)
    grid = affine_grid(theta, list(planes.shape), align_corners=False)
    planes = grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    clips = planes.reshape(batch, frames, channels, height, width).permute(0, 1, 3, 4, 2)  # (B, T, H, W, 3)

    clips = torch.where(draw(-1, 1).view(-1, 1, 1, 1, 1) > 0, clips, clips.flip(1))
    mean = clips.mean(dim=(1, 2, 3, 4), keepdim=True)
    contrast = 1 + draw(-GAIN, GAIN).view(-1, 1, 1, 1, 1)
    brightness = 1 + draw(-GAIN, GAIN).view(-1, 1, 1, 1, 1)
    tint = 1 + GAIN / 4 * torch.empty(batch, 1, 1, 1, channels, device=pixels.device).uniform_(-1, 1)
    clips = ((clips - mean) * contrast + mean) * brightness * tint
    clips = clips + torch.randn_like(clips) * draw(0, NOISE).view(-1, 1, 1, 1, 1)
    return clips.clamp(0, 255)
