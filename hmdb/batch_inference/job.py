"""A batch job: the model and the settings that its rows depend on, and their fingerprint."""

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

if TYPE_CHECKING:  # decoding processes never import transformers
    from hmdb.model.loading import LoadedModel
    from hmdb.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settings of a job, which Ray sends to the actors.

    Attributes:
        checkpoint: of the model.
        clip_spec, pixel_spec: the model's input.
        device: torch's name of it, on the machine of the actor.
        dtype: one of `hmdb.model.optimize.DTYPES`; never "auto", which each machine could resolve differently.
        top_k: labels per video.
        embeddings: length of the embedding in each row; 0 for none.
        timeline: adds the column `segments`.
        limits, fetch_limits: of decoding and of downloading one video.
        batch_size: clips per forward pass.
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
    fetch_limits: FetchLimits
    batch_size: int

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Shape of the pixels that pass between actors: (T, height, width, 3)."""
        return self.clip_spec.num_frames, *self.pixel_spec.shape, 3

    def load_recognizer(self) -> Recognizer:
        """Loads the model on this machine.

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


def resolve_dtype(loaded: LoadedModel, dtype: str, device: str, previous: str | None) -> str:
    """Chooses the dtype that all machines of a job use.

    Args:
        loaded: the model, on this CPU; resolving optimizes it in place.
        dtype: the requested one, or "auto".
        previous: of the run that this one continues.

    Raises:
        ModelError: there is no such dtype, or the device does not have it.
    """
    from hmdb.model.optimize import DTYPES
    from hmdb.recognizer import Recognizer

    if dtype == "auto" and previous is not None:
        return previous
    if device == "cpu":
        return Recognizer.from_loaded(loaded, dtype).dtype
    if dtype == "int8" or dtype not in DTYPES:
        raise ModelError(f"On {device} the dtype must be auto, float32 or bfloat16, not {dtype!r}.")
    return "float32" if dtype == "auto" else dtype


def fingerprint(loaded: LoadedModel, job: Job) -> dict[str, Any]:
    """The settings that all rows of a folder share, for `job.json`."""
    return {
        "version": __version__,
        "model": loaded.checkpoint.name,
        "revision": loaded.checkpoint.revision,
        "weights": weights_digest(loaded.checkpoint.folder),
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


def weights_digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weight files."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
