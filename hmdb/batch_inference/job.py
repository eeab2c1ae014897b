"""What the answers of a job depend on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmdb.batch_inference.download import FetchLimits
from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model.hub import Checkpoint, resolve_checkpoint
from hmdb.model.preprocess import PixelSpec
from hmdb.version import __version__
from hmdb.video.limits import Limits

if TYPE_CHECKING:  # who decodes needs no transformers
    from hmdb.model.loading import LoadedModel
    from hmdb.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked of each video; it travels to the actors.

    Attributes:
        checkpoint: which model answers.
        clip_spec, pixel_spec: what it sees.
        device: as torch names it, on the machine that answers.
        dtype: the precision, of `hmdb.model.optimize.DTYPES`; never "auto", which each machine would decide anew.
        top_k: labels for each video.
        embeddings: length of the embedding that each row has; 0 for none.
        timeline: whether the second table is written.
        limits, fetching: what reading a video may cost, and fetching it.
        batch_size: clips that are answered together.
    """

    checkpoint: Checkpoint
    clip_spec: ClipSpec
    pixel_spec: PixelSpec
    device: str
    dtype: str
    top_k: int
    embeddings: int
    timeline: bool
    limits: Limits
    fetching: FetchLimits
    batch_size: int

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Of the pixels that pass from one actor to the other: (T, height, width, 3)."""
        return self.clip_spec.num_frames, *self.pixel_spec.shape, 3

    def recognizer(self) -> Recognizer:
        """The model, on the machine that calls.

        Raises:
            ModelError: it cannot be loaded here.
        """
        import torch

        from hmdb.model.loading import BUNDLED, load_checkpoint
        from hmdb.recognizer import Recognizer

        checkpoint = self.checkpoint
        if checkpoint.name == "bundled":
            checkpoint = Checkpoint(folder=BUNDLED, name="bundled")
        elif not checkpoint.folder.is_dir():
            from_hub = checkpoint.revision is not None
            checkpoint = resolve_checkpoint(
                checkpoint.name if from_hub else str(checkpoint.folder), checkpoint.revision
            )
        return Recognizer.from_loaded(load_checkpoint(checkpoint, torch.device(self.device)), self.dtype)


def precision(loaded: LoadedModel, dtype: str, device: str, decided: str | None) -> str:
    """The dtype that all machines of a job use.

    Args:
        loaded: the model, on this CPU; it is made ready to answer here.
        dtype: that was asked for.
        decided: of a job that this one goes on with.

    Raises:
        ModelError: no such dtype, or not on such a device.
    """
    from hmdb.model.optimize import DTYPES
    from hmdb.recognizer import Recognizer

    if dtype == "auto" and decided is not None:
        return decided
    if device == "cpu":
        return Recognizer.from_loaded(loaded, dtype).dtype
    if dtype == "int8" or dtype not in DTYPES:
        raise ModelError(f"On {device} the dtype must be auto, float32 or bfloat16, not {dtype!r}.")
    return "float32" if dtype == "auto" else dtype


def fingerprint(loaded: LoadedModel, job: Job) -> dict[str, Any]:
    """All that the rows of a folder have in common, ready for JSON."""
    return {
        "version": __version__,
        "model": loaded.checkpoint.name,
        "revision": loaded.checkpoint.revision,
        "weights": digest(loaded.checkpoint.folder),
        "labels": list(loaded.labels),
        "calibration": loaded.calibration.to_dict(),
        "known": asdict(loaded.ood_detector.scale) if loaded.ood_detector else None,
        "clip_spec": job.clip_spec.to_dict(),
        "pixel_spec": job.pixel_spec.to_dict(),
        "dtype": job.dtype,
        "top_k": job.top_k,
        "embeddings": job.embeddings,
        "timeline": job.timeline,
    }


def digest(folder: Path) -> str:
    """SHA-256 of the weights of a checkpoint."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
