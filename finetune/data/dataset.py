"""Samples -> clips as uint8 tensors, read by the same code that answers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from finetune.data.sample import Sample
from finetune.data.splits import Splits
from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import DataError, VideoError
from hmdb.model.preprocess import PixelSpec, resize_and_crop

MAX_BROKEN = 0.02  # of all clips
THUMBNAIL = 64  # pixels a side, enough to compare frames
UNLABELLED = -100  # the class id that cross-entropy leaves out

ReadPixels = Callable[[Path, ClipSpec, random.Random], np.ndarray]


def read_pixels(video: Path, clip_spec: ClipSpec, rng: random.Random) -> np.ndarray:
    """Reads the frames of a clip: uint8 (T, H, W, 3).

    Raises:
        VideoError: it cannot be read.
    """
    return read_clip(video, clip_spec, rng).pixels


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of a data set, each read once when the dataset is made.

    An item is {"pixel_values": uint8 (T, H, W, 3), resized and cropped, "labels": class id}, and
    "targets": float32 (number of classes,) or "maps": float16 (T, h, w, C) where there are such.
    Normalising is left to the device that trains. Where the sampler always takes the same frames the
    clips are kept on disk, shared by all processes and workers; the random sampler draws afresh each
    epoch (`redraw`), or always the same where it evaluates.

    Args:
        samples: a label that is not among the classes makes an unlabelled clip.
        classes: the class names in the order of their ids.
        cache: path of the file that keeps the clips, used again where it holds the same ones; without
            one a temporary file.
        progress: show a progress bar while reading.
        read: reads the frames of a clip; another function than the default goes without a cache.

    Attributes:
        samples: the clips that can be read, in the order of the items.
        broken: name -> reason, of those that cannot and were left out.
        targets: float32 (N, number of classes), given by a teacher of videos; None for none.
        maps: float16 (N, T, h, w, C), given by a teacher of images; None for none.

    Raises:
        DataError: from `__getitem__`, a clip that could be read before and cannot any more, by name.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        clip_spec: ClipSpec,
        pixel_spec: PixelSpec,
        *,
        seed: int = 0,
        redraw: bool = False,
        cache: Path | None = None,
        progress: bool = False,
        read: ReadPixels = read_pixels,
    ) -> None:
        if cache and read is not read_pixels:
            raise ValueError("a cache holds clips of read_pixels alone")
        self.targets: np.ndarray | None = None
        self.maps: np.ndarray | None = None
        self._ids = {label: index for index, label in enumerate(classes)}
        self._clip_spec = clip_spec
        self._pixel_spec = pixel_spec
        self._seed = seed
        self._read_pixels = read
        self._redraw = redraw and clip_spec.sampler == "random"
        self._epoch = 0
        self._all = tuple(samples)
        self._pixels: np.ndarray | None = None
        self.broken: dict[str, str] = {}
        self.leave_out(self._read_all(cache, progress))

    def leave_out(self, broken: Mapping[str, str]) -> None:
        """Leaves out broken clips, name -> reason, of this or of another view of the same videos."""
        self.broken = {**self.broken, **broken}
        self._rows = [row for row, sample in enumerate(self._all) if sample.name not in self.broken]
        self.samples = tuple(self._all[row] for row in self._rows)

    def set_epoch(self, epoch: int) -> None:
        """Seeds the draws of the random sampler; the Trainer calls it before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"pixel_values": torch.from_numpy(self.frames(index)), "labels": self.class_id(index)}
        for name, taught in (("targets", self.targets), ("maps", self.maps)):
            if taught is not None:
                item[name] = torch.from_numpy(np.array(taught[index]))
        return item

    @property
    def num_frames(self) -> int:
        return self._clip_spec.num_frames

    def like(self, samples: Sequence[Sample], cache: Path | None = None) -> ClipDataset:
        """Other clips, read the same way."""
        return ClipDataset(
            samples,
            tuple(self._ids),
            self._clip_spec,
            self._pixel_spec,
            seed=self._seed,
            redraw=self._redraw,
            cache=cache,
        )

    def class_id(self, index: int) -> int:
        return self._ids.get(self.samples[index].label, UNLABELLED)

    @property
    def class_ids(self) -> np.ndarray:
        """int (N,): class ids, UNLABELLED for unlabelled clips."""
        return np.array([self.class_id(index) for index in range(len(self))], int)

    def balanced_weights(self) -> torch.Tensor:
        """float32 (number of classes,): N / (number of classes * clips of the class); 1 where all have as many.

        A class without clips has 0.
        """
        ids = torch.from_numpy(self.class_ids)
        counts = torch.bincount(ids[ids >= 0], minlength=len(self._ids)).float()
        return torch.where(counts > 0, counts.sum() / (len(self._ids) * counts.clamp(min=1)), 0.0)

    def frames(self, index: int) -> np.ndarray:
        """uint8 (T, H, W, 3): the pixels of a clip."""
        row = self._rows[index]
        try:
            return np.array(self._read(row) if self._pixels is None else self._pixels[row])
        except VideoError as error:
            raise DataError(f"The clip {self._all[row].name} cannot be read any more: {error}") from error

    def _read(self, row: int) -> np.ndarray:
        rng = random.Random(f"{self._seed} {self._epoch if self._redraw else 0} {row}")
        return resize_and_crop(self._read_pixels(self._all[row].path, self._clip_spec, rng), self._pixel_spec)

    def _read_all(self, cache: Path | None, progress: bool) -> dict[str, str]:
        """Reads each clip once, into the cache unless it is redrawn each epoch; returns the broken ones."""
        shape = (len(self._all), self._clip_spec.num_frames, *self._pixel_spec.shape, 3)
        notes = cache.with_suffix(".json") if cache else None
        if cache and notes and (broken := _noted(notes, self._key())) is not None:
            if not self._redraw:
                self._pixels = np.memmap(cache, np.uint8, mode="r", shape=shape)
            return broken
        folder = cache.parent if cache else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        size = 0 if self._redraw else int(np.prod(shape))
        if size > shutil.disk_usage(folder).free:
            raise DataError(f"{folder} has no room for the decoded clips, {size / 1e9:.1f} GB.")
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                if size:
                    file.truncate(size)
                    self._pixels = np.memmap(file, np.uint8, mode="r+", shape=shape)
                if not cache:
                    Path(file.name).unlink()  # the memory map stays, and a kill leaves nothing behind
                broken = self._fill(progress)
                if cache and notes:
                    os.replace(file.name, cache)
                    notes.write_text(json.dumps({"key": self._key(), "broken": broken}), encoding="utf-8")
            finally:
                Path(file.name).unlink(missing_ok=True)
        return broken

    def _fill(self, progress: bool) -> dict[str, str]:
        def read(row: int) -> str | None:
            try:
                pixels = self._read(row)
            except VideoError as error:
                return str(error)
            if self._pixels is not None:
                self._pixels[row] = pixels
            return None

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as readers:
            reasons = tqdm(
                readers.map(read, range(len(self._all))),
                "reading",
                total=len(self._all),
                unit="clip",
                leave=False,
                disable=not progress,
            )
            return {sample.name: reason for sample, reason in zip(self._all, reasons, strict=True) if reason}

    def _key(self) -> str:
        """Hashes all that the pixels in the cache depend on."""
        what = (
            [(sample.name, str(sample.path), _modified(sample.path)) for sample in self._all],
            self._clip_spec.to_dict(),
            self._pixel_spec.to_dict(),
            self._seed,
        )
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def read_thumbnails(splits: Splits) -> ClipDataset:
    """Reads small frames of every clip of the splits."""
    clip_spec = ClipSpec(sampler="equidistant")
    samples = [sample for part in splits.by_name().values() for sample in part]
    return ClipDataset(samples, splits.classes, clip_spec, PixelSpec.paper(THUMBNAIL))


def refuse_many_broken(datasets: Mapping[str, ClipDataset], *, allowed: bool) -> dict[str, str]:
    """Collects the broken clips, name -> reason.

    Raises:
        DataError: more than 2 % of all clips are broken, and that is not allowed.
    """
    broken = {name: reason for dataset in datasets.values() for name, reason in dataset.broken.items()}
    total = sum(len(dataset) for dataset in datasets.values()) + len(broken)
    if len(broken) > MAX_BROKEN * total and not allowed:
        examples = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:3])
        raise DataError(
            f"{len(broken)} of {total} clips cannot be read, more than {MAX_BROKEN:.0%}. {examples} "
            "--allow-broken goes on without them."
        )
    return broken


def _noted(notes: Path, key: str) -> dict[str, str] | None:
    try:
        content = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content["broken"] if content.get("key") == key else None


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns
