"""Samples -> clips as uint8 tensors, read by the same code that answers."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from finetune.splits import Sample
from hmdb.clip import ClipSpec
from hmdb.errors import DataError, VideoError
from hmdb.preprocess import PixelSpec, fit
from hmdb.reader import read_clip


class ClipDataset(Dataset[dict[str, Any]]):
    """The clips of one split.

    An item is {"pixel_values": uint8 (T, H, W, 3), resized and cropped, "labels": class id}.
    Normalising is left to the device that trains. Where the sampler always takes the same frames,
    each clip is decoded once and kept on disk, shared by all worker processes; the random sampler
    draws afresh each epoch (`redraw`), or always the same where it evaluates.

    Raises:
        DataError: from `__getitem__`, a clip that cannot be read, by name.
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
    ) -> None:
        self.samples = samples
        self._ids = {label: index for index, label in enumerate(classes)}
        self._clip_spec = clip_spec
        self._pixel_spec = pixel_spec
        self._seed = seed
        self._redraw = redraw and clip_spec.sampler == "random"
        self._epoch = 0
        shape = (len(samples), clip_spec.num_frames, *pixel_spec.shape, 3)
        self._kept = None if self._redraw else np.memmap(tempfile.TemporaryFile(), np.uint8, mode="w+", shape=shape)  # noqa: SIM115
        self._is_kept = torch.zeros(len(samples), dtype=torch.bool)
        self._is_kept.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        if self._kept is None:
            pixels = self._read(index)
        else:
            if not self._is_kept[index]:
                self._kept[index] = self._read(index)
                self._is_kept[index] = True
            pixels = self._kept[index]
        return {"pixel_values": torch.from_numpy(np.array(pixels)), "labels": self._ids[sample.label]}

    def _read(self, index: int) -> np.ndarray:
        sample = self.samples[index]
        rng = random.Random(f"{self._seed} {self._epoch if self._redraw else 0} {index}")
        try:
            return fit(read_clip(sample.path, self._clip_spec, rng).pixels, self._pixel_spec)
        except VideoError as error:
            raise DataError(f"The clip {sample.name} cannot be read: {error}") from error
