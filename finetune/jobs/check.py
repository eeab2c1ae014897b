"""Checks a data set before training: its files, splits and leakage, and the run that would suit it."""

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
SHORT = EVEN.num_frames  # source frames, below which a clip repeats some
UNBALANCED = 5  # times as many clips in the largest class as in the smallest
CLIP_BYTES = EVEN.num_frames * 224 * 224 * 3  # of a decoded clip, as a TimeSformer-base takes it
SHEET_COLUMNS, SHEET_CLIPS = 6, 36


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """The findings about a data set.

    Attributes:
        counts: class -> number of clips.
        broken: clip -> reason, of the unreadable ones.
        damaged: clip -> damage, of the readable ones.
        short: clip -> number of frames, if a model reads more.
        duplicates: pairs of clips with the same content.
        splits: train, val and test; None if it cannot be split.
        problem: the reason for that.
        leaks: leakage between the splits, in lines.
    """

    counts: dict[str, int]
    broken: dict[str, str]
    damaged: dict[str, str]
    short: dict[str, int]
    duplicates: tuple[tuple[str, str], ...]
    splits: Splits | None
    problem: str
    leaks: tuple[str, ...]

    def lines(self) -> list[str]:
        """Describes the findings, in lines for people."""
        clips, most, least = sum(self.counts.values()), max(self.counts.values()), min(self.counts.values())
        lines = [f"{clips} clips of {len(self.counts)} classes, {least} to {most} a class"]
        if most >= UNBALANCED * least:
            lines.append(f"unbalanced: {min(self.counts, key=self.counts.__getitem__)} has only {least} clips")
        for what, reasons in (
            ("cannot be read", self.broken),
            ("damaged", self.damaged),
            (f"shorter than {SHORT} frames", self.short),
        ):
            lines += _some(what, [f"{name}: {reason}" for name, reason in reasons.items()])
        lines += _some("duplicated", [f"{one} is {other}" for one, other in self.duplicates])
        if not self.splits:
            return [*lines, f"No splits: {self.problem}"]
        sizes = ", ".join(f"{len(samples)} {split}" for split, samples in self.splits.by_name().items())
        name = recipe_for(self.splits.classes, len(self.splits.train))
        recipe = RECIPES[name]
        steps = -(-len(self.splits.train) // recipe.batch_size)
        return [
            *lines,
            f"splits: {sizes}; {self.splits.origin}",
            *self.leaks,
            f"a run: recipe {name} from {recipe.init}, at most {recipe.epochs} epochs of {steps} steps, "
            f"{clips * CLIP_BYTES / 1e9:.1f} GB of disk for decoded clips and about 3 GB for its checkpoints",
        ]


def check(source: DataSource, seed: int = 0, contact_sheet: Path | None = None) -> DataCheck:
    """Opens every file of a data set and tries to split it.

    Args:
        contact_sheet: a picture to write, with frames of up to 36 clips of all classes.

    Raises:
        DataError: there is no such data set, the picture cannot be written, or there are folds and none is chosen.
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
        duplicates=_duplicates(collection.samples),
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


def _duplicates(samples: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    """Pairs of clips with the same content; only files of equal size are read."""
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
    """Draws the middle frames of clips, each class in turn."""
    by_class: dict[str, list[np.ndarray]] = {}
    for sample in collection.samples:
        if sample.name in frames:
            by_class.setdefault(sample.label, []).append(frames[sample.name][EVEN.num_frames // 2])
    turns = range(max(map(len, by_class.values())))
    chosen = [shown[turn] for turn in turns for shown in by_class.values() if turn < len(shown)][:SHEET_CLIPS]
    try:
        Image.fromarray(sheet(np.stack(chosen), columns=SHEET_COLUMNS)).save(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The contact sheet {path} cannot be written: {reason}.") from error


def _some(what: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = f"; and {len(items) - 3} more" if len(items) > 3 else ""
    return [f"{len(items)} {what}: {'; '.join(items[:3])}{more}"]
