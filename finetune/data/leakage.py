"""Leakage between train, val and test: shared source videos, files and frames."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.data.dataset import ClipDataset
from finetune.data.sample import Sample
from finetune.data.splits import Splits
from hmdb.video import frame_paths

SAME_SOURCE = "same source video"  # a kind of leak
HASH_SIDE = 9  # pixels of a thumbnail; 9 x 8 + 8 x 9 comparisons of neighbours are the bits
HASH_BITS = 2 * HASH_SIDE * (HASH_SIDE - 1)
NEAR_BITS = 18  # of 144 that may differ between frames of one scene; on HMDB51, pairs of other scenes begin at 22
MAX_FRAMES = 8  # compared of a clip
COMMON = 0.1  # share of the clips of a split; a scene that more of them show is a background
MOTION_SIDE = 32  # pixels of a motion map
STILL = 10.0  # grey levels by which a still pixel may differ from the clip's median
SAME_MOTION = 0.95  # cosine
FLAT = 6.0  # grey levels; frames of a smaller standard deviation are not compared
BLOCK_ROWS = 512  # frames compared with all others at once


@dataclass(frozen=True)
class Leak:
    """Two clips in different splits that share something.

    Attributes:
        kind: "same source video", "same file" or "near-duplicate frames".
        clip, split: the clip in test or val.
        other, other_split: the clip that it resembles.
    """

    kind: str
    clip: str
    split: str
    other: str
    other_split: str


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """The leaks between splits.

    Attributes:
        found: at most one of a kind for each clip and other split.
        unknown_sources: number of clips of unknown source video, which are not compared by source.
        clips: number of clips in all splits.
    """

    found: tuple[Leak, ...]
    unknown_sources: int
    clips: int

    def lines(self) -> list[str]:
        """Describes the leaks, a line for each kind and pair of splits, with an example."""
        groups: dict[tuple[str, str, str], list[Leak]] = defaultdict(list)
        for leak in self.found:
            groups[leak.kind, leak.split, leak.other_split].append(leak)
        lines = [
            f"{kind}: {len(leaks)} clip(s) of {split} and {other} ({leaks[0].clip} and {leaks[0].other}, for one)"
            + ("; --split groups keeps the clips of a source in one split" if kind == SAME_SOURCE else "")
            for (kind, split, other), leaks in sorted(groups.items())
        ]
        if self.unknown_sources:
            lines.append(f"source video unknown for {self.unknown_sources} of {self.clips} clips, so not compared")
        return lines or ["no source video, file or near-duplicate frame is in two splits"]


def find_leaks(splits: Splits, prints: Mapping[str, Fingerprint]) -> LeakReport:
    """Compares every two splits.

    Args:
        prints: by name of the clip; a clip without one is not compared by frames.
    """
    by_name = splits.by_name()
    leaks: list[Leak] = []
    for other, split in combinations(by_name, 2):  # train before val before test
        for kind, pairs in (
            (SAME_SOURCE, _matches(_groups(by_name[split]), _groups(by_name[other]))),
            ("same file", _same_content(by_name[split], by_name[other])),
            ("near-duplicate frames", _near_duplicates(by_name[split], by_name[other], prints)),
        ):
            leaks += [Leak(kind, clip, split, resembled, other) for clip, resembled in pairs]
    samples = [sample for split in by_name.values() for sample in split]
    return LeakReport(
        found=tuple(leaks),
        unknown_sources=sum(sample.group is None for sample in samples),
        clips=len(samples),
    )


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The perceptual hashes of a clip's frames, and its motion.

    Attributes:
        hashes: float32 (n, 144), of the frames that are not flat.
        motion: float16 (n, 1024), of unit length: the pixels of each frame that differ from the clip's median.
    """

    hashes: np.ndarray
    motion: np.ndarray


def fingerprints(*datasets: ClipDataset, only: Collection[str] | None = None) -> dict[str, Fingerprint]:
    """Fingerprints clips, by name, from at most 8 evenly spaced frames; with `only`, the clips of these names."""
    return {
        sample.name: fingerprint(dataset.frames(index)[_evenly_spaced(dataset.num_frames)])
        for dataset in datasets
        for index, sample in enumerate(dataset.samples)
        if only is None or sample.name in only
    }


def fingerprint(frames: np.ndarray) -> Fingerprint:
    """Fingerprints the frames of a clip, uint8 (T, H, W, 3)."""
    size = (MOTION_SIDE, MOTION_SIDE)
    grey = np.stack(
        [
            np.asarray(Image.fromarray(frame).convert("L").resize(size, Image.Resampling.BOX), dtype=np.float32)
            for frame in frames
        ]
    )
    moved = np.maximum(np.abs(grey - np.median(grey, axis=0)) - STILL, 0).reshape(len(grey), -1)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    motion = (moved / np.maximum(lengths, 1e-6))[lengths[:, 0] > 0]
    return Fingerprint(perceptual_hashes(frames), motion.astype(np.float16))


def _evenly_spaced(num_frames: int) -> list[int]:
    return sorted(set(np.linspace(0, num_frames - 1, MAX_FRAMES).astype(int).tolist()))


def perceptual_hashes(frames: np.ndarray) -> np.ndarray:
    """Compares the brightness of neighbours in a small grey copy of each frame.

    Args:
        frames: uint8 (T, H, W, 3).

    Returns:
        float32 (n, 144), a row for each of the n frames that are not flat: 1 where the right neighbour is
        brighter (9 x 8), then where the lower one is (8 x 9); else -1.
    """
    rows = []
    for frame in frames:
        small = Image.fromarray(frame).convert("L").resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX)
        grey = np.asarray(small, dtype=np.float32)
        if grey.std() >= FLAT:
            steps = [(grey[:, 1:] - grey[:, :-1]).ravel(), (grey[1:] - grey[:-1]).ravel()]
            rows.append(np.where(np.concatenate(steps) > 0, 1, -1))
    return np.array(rows, dtype=np.float32).reshape(len(rows), HASH_BITS)


def mirrored(hashes: np.ndarray) -> np.ndarray:
    """Returns the hashes (n, 144) of the mirrored frames."""
    right, down = np.split(hashes, 2, axis=1)
    right = -right.reshape(-1, HASH_SIDE, HASH_SIDE - 1)[:, :, ::-1]
    down = down.reshape(-1, HASH_SIDE - 1, HASH_SIDE)[:, :, ::-1]
    return np.concatenate([right.reshape(len(hashes), -1), down.reshape(len(hashes), -1)], axis=1)


def similar_pairs(
    clips: Sequence[Sample], others: Sequence[Sample], prints: Mapping[str, Fingerprint]
) -> dict[str, str]:
    """Matches clips with others of the same source, content or scene: name -> name of the other."""
    return dict(
        pair
        for pairs in (
            _matches(_groups(clips), _groups(others)),
            _same_content(clips, others),
            _near_duplicates(clips, others, prints),
        )
        for pair in pairs
    )


def _matches(keys: Mapping[str, Any], other_keys: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    holders = {key: name for name, key in other_keys.items()}
    return [(name, holders[key]) for name, key in keys.items() if key in holders]


def _groups(samples: Iterable[Sample]) -> dict[str, str]:
    return {sample.name: sample.group for sample in samples if sample.group is not None}


def _same_content(clips: Sequence[Sample], others: Sequence[Sample]) -> Iterable[tuple[str, str]]:
    """Pairs clips of the same bytes. Only files of equal size are read."""
    sizes, other_sizes = ({sample: _size(sample.path) for sample in part} for part in (clips, others))
    both = set(sizes.values()) & set(other_sizes.values())
    contents, other_contents = (
        {sample.name: content_hash(sample.path) for sample, size in part.items() if size in both}
        for part in (sizes, other_sizes)
    )
    return _matches(contents, other_contents)


def _size(clip: Path) -> int:
    return sum(path.stat().st_size for path in (frame_paths(clip) if clip.is_dir() else [clip]))


def content_hash(clip: Path) -> bytes:
    """Hashes the bytes of a video, or of all frames of a folder, with SHA-256."""
    digest = hashlib.sha256()
    for path in frame_paths(clip) if clip.is_dir() else [clip]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _near_duplicates(
    clips: Sequence[Sample], others: Sequence[Sample], prints: Mapping[str, Fingerprint]
) -> Iterable[tuple[str, str]]:
    """Pairs clips with frames of one scene. If it is the background of many clips, the motion must match, too."""
    rows, owners = _stacked(clips, prints)
    columns, other_owners = _stacked(others, prints)
    if not len(rows) or not len(columns):
        return []
    candidates: dict[str, dict[str, None]] = defaultdict(dict)  # ordered sets
    for first in range(0, len(rows), BLOCK_ROWS):
        block = rows[first : first + BLOCK_ROWS]
        agreement = np.maximum(block @ columns.T, block @ mirrored(columns).T)  # bits - 2 x differing ones
        for row, column in np.argwhere(agreement >= HASH_BITS - 2 * NEAR_BITS):
            candidates[owners[first + row]][other_owners[column]] = None
    common = max(2, COMMON * len(others))
    pairs: dict[str, str] = {}
    for name, names in candidates.items():
        background = len(names) > common
        for other in names:
            if not background or _same_motion(prints[name].motion, prints[other].motion):
                pairs.setdefault(name, other)
    return list(pairs.items())


def _same_motion(motion: np.ndarray, other: np.ndarray) -> bool:
    """Tests for the same motion in half of the frames, mirrored or not; two still clips match."""
    if not len(motion) or not len(other):
        return len(motion) == len(other)
    sideways = other.reshape(-1, MOTION_SIDE, MOTION_SIDE)[:, :, ::-1].reshape(other.shape)
    return any(
        np.mean((motion.astype(np.float32) @ side.astype(np.float32).T).max(axis=1) >= SAME_MOTION) >= 0.5
        for side in (other, sideways)
    )


def _stacked(samples: Sequence[Sample], prints: Mapping[str, Fingerprint]) -> tuple[np.ndarray, list[str]]:
    present = [sample.name for sample in samples if sample.name in prints and len(prints[sample.name].hashes)]
    rows = [prints[name].hashes for name in present]
    owners = [name for name in present for _ in range(len(prints[name].hashes))]
    return np.concatenate(rows) if rows else np.empty((0, HASH_BITS), np.float32), owners
