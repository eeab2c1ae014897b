import pytest
import torch

from finetune.data.augment import CROP_AREA, ClipAugmentation, MixupCutmix, color_jitter


def coordinates(batch: int, frames: int, side: int) -> torch.Tensor:
    """Clips whose channels say where and when a pixel is: (B, T, H, W, 3) of column, row, moment."""
    along = torch.arange(side).float()
    clips = torch.zeros(batch, frames, side, side, 3)
    clips[..., 0], clips[..., 1] = along, along[:, None]
    clips[..., 2] = torch.arange(frames).float()[:, None, None]
    return clips


def test_identity_augmentation_changes_nothing() -> None:
    clips = torch.randint(0, 256, (2, 3, 8, 8, 3), dtype=torch.uint8)
    whole = ClipAugmentation(moments=torch.arange(3).repeat(2, 1), window=torch.eye(2, 3).repeat(2, 1, 1))
    assert torch.allclose(whole.of(clips, (8, 8)), clips.float(), atol=1e-3)


def test_frames_keep_their_order_or_run_backwards() -> None:
    torch.manual_seed(0)
    moments = ClipAugmentation.draw(200, 8, kept=4).moments
    assert moments.shape == (200, 4)
    steps = moments.diff(dim=1)
    forwards, backwards = (steps >= 0).all(dim=1), (steps <= 0).all(dim=1)
    assert (forwards | backwards).all()
    assert 60 < int((forwards & ~backwards).sum()) < 140
    spans = (moments.amax(dim=1) - moments.amin(dim=1)).float()
    assert spans.min() <= 2 < 6 <= spans.max()
    assert ClipAugmentation.draw(3, 8).moments.shape == (3, 8)


def test_crop_is_inside_the_frame_and_equal_for_all_frames() -> None:
    torch.manual_seed(0)
    clips = coordinates(100, 2, 32)
    seen = ClipAugmentation.draw(100, 2).of(clips, (32, 32))
    assert seen[..., :2].min() >= 0
    assert seen[..., :2].max() <= 31
    assert torch.allclose(seen[:, 0, ..., :2], seen[:, 1, ..., :2])
    wide = (seen[:, 0, 5, 30, 0] - seen[:, 0, 5, 1, 0]) / 29
    tall = (seen[:, 0, 30, 5, 1] - seen[:, 0, 1, 5, 1]) / 29
    area = wide.abs() * tall
    assert CROP_AREA[0] * 0.9 < area.min() < 0.5
    assert 0.9 < area.max() <= 1.01
    assert 30 < int((wide < 0).sum()) < 70  # mirrored


def test_maps_are_cropped_like_their_pixels() -> None:
    """A coarse map of the frame is seen through the same window as the frame itself."""
    torch.manual_seed(0)
    clips = coordinates(20, 4, 32)
    maps = clips.unflatten(2, (8, 4)).unflatten(4, (8, 4)).mean(dim=(3, 5)).half()  # type: ignore[no-untyped-call]
    view = ClipAugmentation.draw(20, 4)
    fine = view.of(clips, (8, 8))
    coarse = view.of(maps, (8, 8))
    inside = (slice(None), slice(None), slice(2, 6), slice(2, 6))
    assert (fine - coarse)[inside].abs().max() < 1.0
    assert torch.allclose(fine[..., 2], coarse[..., 2], atol=1e-2)


def test_color_jitter_is_constant_within_a_clip() -> None:
    torch.manual_seed(0)
    clips = torch.full((50, 2, 16, 16, 3), 128.0)
    lit = color_jitter(clips)
    assert lit.shape == clips.shape
    assert lit.min() >= 0
    assert lit.max() <= 255
    levels = lit.mean(dim=(2, 3))
    assert levels.std(dim=0).min() > 10
    assert (levels[:, 0] - levels[:, 1]).abs().max() < 3


@pytest.mark.parametrize("size", [(8, 8), (4, 6)])
def test_output_has_the_requested_size(size: tuple[int, int]) -> None:
    assert ClipAugmentation.draw(2, 3).of(torch.zeros(2, 3, 9, 5, 7), size).shape == (2, 3, *size, 7)


def test_mixup_and_cutmix_agree_with_their_share() -> None:
    torch.manual_seed(0)
    clips = torch.arange(4, dtype=torch.uint8)[:, None, None, None, None].expand(4, 2, 16, 16, 3) * 60
    boxes, shares = 0, []
    for _ in range(60):
        mixture = MixupCutmix.draw(4, (16, 16), 1.0)
        mixed = mixture.of(clips)
        assert mixed.shape == clips.shape
        assert sorted(mixture.partner.tolist()) == [0, 1, 2, 3]
        whole = mixture.share * clips.float() + (1 - mixture.share) * clips[mixture.partner].float()
        assert torch.allclose(mixed.mean(dim=(1, 2, 3, 4)), whole.mean(dim=(1, 2, 3, 4)), atol=1e-2)
        in_a_box = bool(((mixture.kept == 0) | (mixture.kept == 1)).all())
        if in_a_box:
            pure = (mixed == clips) | (mixed == clips[mixture.partner])
            assert pure.all()
        boxes += in_a_box
        shares.append(mixture.share)
    assert 15 < boxes < 45
    assert min(shares) < 0.2 < 0.8 < max(shares) <= 1


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    clips = torch.full((1, 2, 4, 4, 3), 7, dtype=torch.uint8)
    assert (MixupCutmix.draw(1, (4, 4), 0.4).of(clips) == 7).all()
