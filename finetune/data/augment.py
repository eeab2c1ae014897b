"""Augmentation of training clips, on the device that trains.

A `ClipAugmentation` is drawn first and applied afterwards, so that maps of the same pixels, such as a teacher's
features, are cropped, mirrored and reversed with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample

CROP_AREA = (0.4, 1.0)  # of the frame
CROP_ASPECT = 4 / 3  # widest to tallest
SHORTEST = 0.3  # of the clip's time
GAIN = 0.4  # brightness and contrast change by up to this much
NOISE = 6.0  # grey levels, standard deviation at most


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipAugmentation:
    """The frames and the crop of each clip of a batch.

    Attributes:
        moments: int64 (B, T'), indices of the frames, in order.
        window: float32 (B, 2, 3), the affine map from the crop to the whole frame, both in -1..1.
    """

    moments: torch.Tensor
    window: torch.Tensor

    @classmethod
    def draw(
        cls, batch: int, frames: int, *, kept: int | None = None, device: torch.device | None = None
    ) -> ClipAugmentation:
        """Draws a crop of 0.4 to 1 of the area, mirrored for half of the clips; half of the clips are cut to a stretch
        of time, as if sampled more densely, and half run backwards.

        Args:
            frames: T, of the clips.
            kept: T', the number of frames to keep, drawn for each clip; None for all.
        """

        def uniform(low: float, high: float) -> torch.Tensor:
            return torch.empty(batch, device=device).uniform_(low, high)

        area, aspect = uniform(*CROP_AREA), CROP_ASPECT ** uniform(-1, 1)
        wide, tall = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        window = torch.zeros(batch, 2, 3, device=device)
        window[:, 0, 0], window[:, 0, 2] = wide * uniform(-1, 1).sign(), uniform(-1, 1) * (1 - wide)
        window[:, 1, 1], window[:, 1, 2] = tall, uniform(-1, 1) * (1 - tall)

        length = torch.where(uniform(0, 1) < 0.5, uniform(SHORTEST, 1), torch.ones(batch, device=device))
        begin = uniform(0, 1) * (1 - length)
        ticks = (torch.arange(frames, device=device) + 0.5) / frames
        moments = ((begin[:, None] + length[:, None] * ticks) * frames).long().clamp(max=frames - 1)
        if kept is not None and kept < frames:
            chosen = torch.rand(batch, frames, device=device).topk(kept, dim=1).indices.sort(dim=1).values
            moments = moments.gather(1, chosen)
        moments = torch.where(uniform(-1, 1)[:, None] > 0, moments, moments.flip(1))
        return cls(moments=moments, window=window)

    def of(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Applies it to clips, or to maps of them.

        Args:
            values: (B, T, H, W, C) of any dtype.
            size: (height, width) of the result.

        Returns:
            float32 (B, T', height, width, C).
        """
        batch, channels = len(values), values.shape[-1]
        chosen = values[torch.arange(batch, device=values.device)[:, None], self.moments].float()
        planes = chosen.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (B, T' * C, H, W)
        grid = affine_grid(self.window, [batch, 1, *size], align_corners=False)
        seen = grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        return seen.view(batch, -1, channels, *size).permute(0, 1, 3, 4, 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class MixupCutmix:
    """Clips of a batch mixed with others of it (Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix").

    Attributes:
        partner: int64 (B,), the index in the batch that each clip is mixed with.
        kept: (B, 1, H, W, 1), the share of each pixel that stays; the rest is the partner's.
        share: of each clip that stays, 0..1.
    """

    partner: torch.Tensor
    kept: torch.Tensor
    share: float

    @classmethod
    def draw(cls, batch: int, size: tuple[int, int], alpha: float, device: torch.device | None = None) -> MixupCutmix:
        """Draws mixup for half of the batches, CutMix, with the same box in every frame, for the others.

        Args:
            size: (H, W).
            alpha: the share is drawn from Beta(alpha, alpha).
        """
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        kept = torch.full((1, 1, *size, 1), share, device=device)
        if torch.rand(()) < 0.5:
            kept = torch.ones_like(kept)
            (top, bottom), (left, right) = (_cut(side, (1 - share) ** 0.5) for side in size)
            kept[:, :, top:bottom, left:right] = 0
            share = float(kept.mean())
        return cls(partner=torch.randperm(batch, device=device), kept=kept.expand(batch, -1, -1, -1, -1), share=share)

    def of(self, clips: torch.Tensor) -> torch.Tensor:
        """Mixes clips (B, T, H, W, C) of any dtype; float32 of the same shape."""
        clips = clips.float()
        return clips * self.kept + clips[self.partner] * (1 - self.kept)


def _cut(side: int, share: float) -> tuple[int, int]:
    """Draws the begin and the end of a box of a share of the side's length, clipped to the side."""
    half, middle = share * side / 2, float(torch.rand(())) * side
    return round(max(middle - half, 0)), round(min(middle + half, side))


def color_jitter(clips: torch.Tensor) -> torch.Tensor:
    """Changes contrast, brightness and tint of each clip, and adds noise.

    Args:
        clips: float32 (B, T, H, W, 3) in 0..255.

    Returns:
        float32, the same shape and range.
    """
    batch = len(clips)

    def uniform(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return torch.empty(batch, 1, 1, 1, channels, device=clips.device).uniform_(low, high)

    mean = clips.mean(dim=(1, 2, 3, 4), keepdim=True)
    clips = (clips - mean) * (1 + uniform(-GAIN, GAIN)) + mean
    clips = clips * (1 + uniform(-GAIN, GAIN)) * (1 + GAIN / 4 * uniform(-1, 1, channels=3))
    clips = clips + torch.randn_like(clips) * uniform(0, NOISE)
    return clips.clamp(0, 255)
