"""A data set -> what is wrong with it and what a run would make of it, before any model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.config.data import DataSource
from finetune.config.recipes import RECIPES, recipe_for
from finetune.data.layouts import index_dataset
from finetune.data.leakage import content_hash, find_leaks, fingerprint
from finetune.data.sample import ClipIndex, Sample
from finetune.data.splits import Splits, split_dataset
from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import take_clip
from hmdb.errors import DataError, VideoError
from hmdb.figures import sheet
from hmdb.model.preprocess import PixelSpec, resize_and_crop
from hmdb.video import open_video

EVEN = ClipSpec(sampler="equidistant")
THUMBNAIL = PixelSpec.paper(96)
SHORT = EVEN.num_frames  # source frames, below which a clip shows some twice
UNBALANCED = 5  # times as many clips in the largest class as in the smallest
CLIP_BYTES = EVEN.num_frames * 224 * 224 * 3  # of a decoded clip, as a TimeSformer-base takes it
SHEET_COLUMNS, SHEET_CLIPS = 6, 36


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What was found in a data set.

    Attributes:
        counts: class -> its clips.
        broken: clip -> why it cannot be read.
        damaged: clip -> what is wrong, of those that can be read all the same.
        short: clip -> its frames, fewer than a model looks at.
        doubled: pairs of clips with the same content.
        splits: train, val and test; None where they cannot be made.
        problem: why not.
        leaks: what the splits share, in lines.
    """

    counts: dict[str, int]
    broken: dict[str, str]
    damaged: dict[str, str]
    short: dict[str, int]
    doubled: tuple[tuple[str, str], ...]
    splits: Splits | None
    problem: str
    leaks: tuple[str, ...]

    def lines(self) -> list[str]:
        """What people read."""
        clips, most, least = sum(self.counts.values()), max(self.counts.values()), min(self.counts.values())
        found = [f"{clips} clips of {len(self.counts)} classes, {least} to {most} a class"]
        if most >= UNBALANCED * least:
            found.append(f"unbalanced: {min(self.counts, key=self.counts.__getitem__)} has {least} clips only")
        for what, clips_found in (
            ("cannot be read", self.broken),
            ("damaged", self.damaged),
            (f"shorter than {SHORT} frames", self.short),
        ):
            found += _some(what, [f"{name}: {told}" for name, told in clips_found.items()])
        found += _some("doubled", [f"{one} is {other}" for one, other in self.doubled])
        if not self.splits:
            return [*found, f"No splits: {self.problem}"]
        sizes = ", ".join(f"{len(samples)} {split}" for split, samples in self.splits.by_name().items())
        name = recipe_for(self.splits.classes, len(self.splits.train))
        recipe = RECIPES[name]
        steps = -(-len(self.splits.train) // recipe.batch_size)
        return [
            *found,
            f"splits: {sizes}; {self.splits.origin}",
            *self.leaks,
            f"a run: recipe {name} from {recipe.init}, at most {recipe.epochs} epochs of {steps} steps, "
            f"{clips * CLIP_BYTES / 1e9:.1f} GB of disk for decoded clips and about 3 GB for its checkpoints",
        ]


def check(source: DataSource, seed: int = 0, contact_sheet: Path | None = None) -> DataCheck:
    """Opens every file of a data set and tries to split it.

    Args:
        contact_sheet: a picture to write, with a frame of up to 36 clips, spread over the classes.

    Raises:
        DataError: there is no such data set, or it cannot be written there, or folds without the one that tests.
    """
    source.refuse_several()
    collection = index_dataset(source.location, source.group_by)
    broken: dict[str, str] = {}
    damaged: dict[str, str] = {}
    short: dict[str, int] = {}
    frames: dict[str, np.ndarray] = {}
    for sample in collection.samples:
        try:
            video = open_video(sample.path)
            frames[sample.name] = resize_and_crop(take_clip(video, EVEN).pixels, THUMBNAIL)
        except VideoError as error:
            broken[sample.name] = str(error)
            continue
        if video.note:
            damaged[sample.name] = video.note
        if video.num_frames < SHORT:
            short[sample.name] = video.num_frames
    splits, problem = _try_to_split(collection, source, seed, broken)
    prints = {name: fingerprint(pixels) for name, pixels in frames.items()}
    if contact_sheet and frames:
        _draw(collection, frames, contact_sheet)
    return DataCheck(
        counts=dict(Counter(sample.label for sample in collection.samples)),
        broken=broken,
        damaged=damaged,
        short=short,
        doubled=_doubled(collection.samples),
        splits=splits,
        problem=problem,
        leaks=tuple(find_leaks(splits, prints).lines()) if splits else (),
    )


def _try_to_split(
    collection: ClipIndex, source: DataSource, seed: int, broken: dict[str, str]
) -> tuple[Splits | None, str]:
    try:
        return split_dataset(collection, source, seed).without(broken), ""
    except DataError as error:
        return None, str(error)


def _doubled(samples: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    """Pairs of the same content; only what has the size of another is read."""
    sizes = Counter(sample.path.stat().st_size for sample in samples if sample.path.is_file())
    first: dict[bytes, str] = {}
    pairs = []
    for sample in samples:
        if sample.path.is_file() and sizes[sample.path.stat().st_size] < 2:
            continue
        name = first.setdefault(content_hash(sample.path), sample.name)
        if name != sample.name:
            pairs.append((sample.name, name))
    return tuple(pairs)


def _draw(collection: ClipIndex, frames: dict[str, np.ndarray], path: Path) -> None:
    """The middle frames of clips, every class in turn."""
    by_class: dict[str, list[np.ndarray]] = {}
    for sample in collection.samples:
        if sample.name in frames:
            by_class.setdefault(sample.label, []).append(frames[sample.name][EVEN.num_frames // 2])
    turns = range(max(map(len, by_class.values())))
    chosen = [found[turn] for turn in turns for found in by_class.values() if turn < len(found)][:SHEET_CLIPS]
    try:
        Image.fromarray(sheet(np.stack(chosen), columns=SHEET_COLUMNS)).save(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The contact sheet {path} cannot be written: {reason}.") from error


def _some(what: str, found: Sequence[str]) -> list[str]:
    if not found:
        return []
    rest = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return [f"{len(found)} {what}: {'; '.join(found[:3])}{rest}"]
