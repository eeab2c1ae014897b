"""Loads a checkpoint: a local folder, one from the Hub, or the bundled one.

Reads only safetensors and runs no remote code. A loaded model names its source and, if it is a fallback, the reason.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from transformers import AutoModelForVideoClassification, PreTrainedModel

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model import KINETICS_400
from hmdb.model.calibration import Calibration
from hmdb.model.families import FAMILIES
from hmdb.model.hub import Checkpoint, HubUnreachableError, resolve_checkpoint
from hmdb.model.ood import OodDetector
from hmdb.model.precision_cost import MAX_TOP1_LOSS, PrecisionCost, read_costs
from hmdb.model.preprocess import PixelSpec
from hmdb.model.validation import (
    check_config_limits,
    check_files,
    check_input_shape,
    check_parameter_count,
    dry_run,
    read_json,
    read_labels,
    read_model_type,
    read_pixel_spec,
)
from hmdb.teaching.head import Backbone, TaughtHead
from hmdb.teaching.storage import fingerprint, read_folder
from hmdb.text import first_line, one_line

MODEL_VARIABLE = "HMDB_MODEL"
BUNDLED = Path(__file__).parents[1] / "bundled"

CLIP_SPEC_KEY = "clip_spec"  # in config.json
CALIBRATION_KEY = "calibration"  # in config.json, optional

NVIDIA = Path("/dev/nvidiactl")  # exists if the NVIDIA driver has a GPU

MAX_MESSAGE = 300  # characters


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A checkpoint in memory, ready for inference.

    Attributes:
        network: the video classifier, in eval mode; float32 on a CPU.
        labels: the label of each logit.
        clip_spec: frame sampling of its clips.
        pixel_spec: preprocessing of their pixels.
        checkpoint: source of the model.
        calibration: converts logits to probabilities.
        ood_detector: scores how far a clip is out of distribution; None if the checkpoint has none.
        head: a taught head, which answers in place of the network's classifier and of `ood_detector`; None without.
        precision_costs: measured accuracy cost of "bfloat16" and "int8"; without those not measured.
        notes: sentences for the user: reasons for a fallback, and assumptions about missing configuration.
    """

    network: PreTrainedModel
    labels: tuple[str, ...]
    clip_spec: ClipSpec
    pixel_spec: PixelSpec
    checkpoint: Checkpoint
    calibration: Calibration = field(default_factory=Calibration)
    ood_detector: OodDetector | None = None
    head: TaughtHead | None = None
    precision_costs: Mapping[str, PrecisionCost] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def backbone(self) -> Backbone:
        """The network below the classifier, with the fingerprint of its files."""
        checkpoint = self.checkpoint
        sha256 = fingerprint(checkpoint.folder, self.pixel_spec.to_dict())
        width: int = self.network.config.hidden_size
        return Backbone(name=checkpoint.name, revision=checkpoint.revision, sha256=sha256, width=width)

    @property
    def int8_unavailable_reason(self) -> str | None:
        """A sentence that says why int8 is not offered; None if it is."""
        if self.network.device.type != "cpu":
            return "int8 needs a CPU."
        cost = self.precision_costs.get("int8")
        if cost is None:
            return f"its cost for {self.checkpoint.name} has not been measured."
        if not cost.within_tolerance("int8"):
            return (
                f"{self.checkpoint.name} loses {-cost.top1_change:.1f} points of top-1 with it on {cost.clips} "
                f"{cost.part} clips, more than {MAX_TOP1_LOSS['int8']:g}."
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Everything except the network and its folder, ready for JSON."""
        costs = {dtype: cost.to_dict() for dtype, cost in self.precision_costs.items()}
        return {
            "model": self.checkpoint.name,
            "revision": self.checkpoint.revision,
            "num_labels": len(self.labels),
            "clip_spec": self.clip_spec.to_dict(),
            "pixel_spec": self.pixel_spec.to_dict(),
            "calibration": self.calibration.to_dict(),
            "tells_strangers_by": "features"
            if self.ood_detector or (self.head and self.head.detector)
            else "probability",
            "int8": {"offered": self.int8_unavailable_reason is None, "cost": costs.get("int8")},
            "bfloat16": {"cost": costs.get("bfloat16")},
            "notes": list(self.notes),
        }


def with_head(loaded: LoadedModel, head: TaughtHead) -> LoadedModel:
    """The same network, shared and not copied, that answers with a taught head.

    Raises:
        ModelError: the head was taught on another network.
    """
    if head.backbone.sha256 != loaded.backbone.sha256:
        raise ModelError(
            f"This head was taught on another network, {one_line(head.backbone.name)}: load that one, or teach anew."
        )
    return replace(
        loaded,
        labels=head.labels,
        clip_spec=head.clip_spec,
        calibration=Calibration(temperature=head.temperature),
        ood_detector=None,
        head=head,
        notes=(),
    )


def load(model: str | Path | None = None, revision: str | None = None, device: str | None = None) -> LoadedModel:
    """Loads a model.

    Args:
        model: a local folder or a Hub id. The default is the environment variable HMDB_MODEL; if that model cannot be
            loaded, the Kinetics-400 weights, and if they cannot be loaded either, the bundled checkpoint, with the
            reasons in `notes`. Without the variable it is the bundled checkpoint, without network access.
        revision: branch, tag or commit on the Hub.
        device: a torch device; a GPU by default if there is one.

    Raises:
        ModelError: the model named by argument cannot be loaded, the device is not available, or a revision was given
            without a model.
    """
    target = _device(device)
    if model is not None:
        return load_checkpoint(resolve_checkpoint(model, revision), target)
    wanted = os.environ.get(MODEL_VARIABLE, "").strip()
    if revision is not None and not wanted:
        raise ModelError(f"The revision {revision} needs a model: name one by argument or in {MODEL_VARIABLE}.")
    notes: list[str] = []
    online = True
    for candidate in dict.fromkeys((wanted, KINETICS_400)) if wanted else ():
        try:
            loaded = load_checkpoint(
                resolve_checkpoint(candidate, revision if candidate == wanted else None, online=online), target
            )
            break
        except ModelError as error:
            online = online and not isinstance(error, HubUnreachableError)
            notes.append(f"{candidate} is not in use: {error}")
    else:
        loaded = load_checkpoint(Checkpoint(folder=BUNDLED, name="bundled"), target)
    return replace(loaded, notes=(*notes, *loaded.notes))


def load_checkpoint(checkpoint: Checkpoint, device: torch.device | None = None) -> LoadedModel:
    """Loads a checkpoint from disk and validates it.

    Raises:
        ModelError: a file is missing or invalid, the architecture is not supported, labels are missing or invalid, the
            weights do not match config.json or are not finite, or the clip spec does not fit the network.
    """
    with _summarize(checkpoint.name):
        return _load_checkpoint(checkpoint, device or _device(None))


def _load_checkpoint(checkpoint: Checkpoint, device: torch.device) -> LoadedModel:
    name, folder = checkpoint.name, checkpoint.folder
    check_files(folder, name)
    config = read_json(folder / "config.json", name)
    model_type = read_model_type(config, name)
    labels = read_labels(config, name)
    notes = []
    if CLIP_SPEC_KEY in config:
        clip_spec = ClipSpec.from_dict(config[CLIP_SPEC_KEY])
    else:
        usual = FAMILIES[model_type].clip_spec
        clip_spec = replace(usual, num_frames=config.get("num_frames", usual.num_frames))
        notes.append(f"{name} does not say how its clips were sampled; the default of its family is used.")
    pixel_spec = read_pixel_spec(folder, name, model_type)
    calibration = Calibration.from_dict(config.get(CALIBRATION_KEY, {}))
    precision_costs = read_costs(config)
    network, new, unused = _load_network(checkpoint)
    if new:
        raise ModelError(f"{name} lacks weights that its config.json requires: {_shorten(new)}")
    if unused:
        raise ModelError(f"{name} has weights that its config.json does not describe: {_shorten(unused)}")
    if not all(bool(edge.isfinite()) for value in network.state_dict().values() for edge in value.aminmax()):
        raise ModelError(f"The weights of {name} are damaged: some are not finite numbers.")
    check_input_shape(network.config, clip_spec, pixel_spec, name)
    ood_detector = OodDetector.load(folder, config, labels=len(labels), width=network.config.hidden_size, name=name)
    head = read_folder(folder, name)
    if head and (head.labels, head.backbone.width) != (labels, network.config.hidden_size):
        raise ModelError(f"The taught head of {name} is of another network or other labels than its config.json.")
    dry_run(network, labels, clip_spec, pixel_spec, name)
    try:
        network.train(False).to(device)
    except RuntimeError as error:
        raise ModelError(f"{name} cannot be moved to {device}: {first_line(error)}") from error
    return LoadedModel(
        network=network,
        labels=labels,
        clip_spec=clip_spec,
        pixel_spec=pixel_spec,
        checkpoint=checkpoint,
        calibration=calibration,
        ood_detector=ood_detector,
        head=head,
        precision_costs=precision_costs,
        notes=tuple(notes),
    )


def load_network(checkpoint: Checkpoint, **changes: Any) -> tuple[PreTrainedModel, frozenset[str]]:
    """Loads only the network of a checkpoint, in float32 on the CPU.

    Args:
        changes: changes of its configuration, such as another number of labels, as for `from_pretrained`.

    Returns:
        The network, and the names of its newly initialized weights: those without a counterpart of the same name and
        shape in the checkpoint.

    Raises:
        ModelError: the architecture is not supported, or the weights are missing, broken or not safetensors.
    """
    with _summarize(checkpoint.name):
        network, new, _ = _load_network(checkpoint, **changes)
        return network, new


def _load_network(checkpoint: Checkpoint, **changes: Any) -> tuple[PreTrainedModel, frozenset[str], frozenset[str]]:
    """The network, the names of its new weights, and those of the checkpoint's weights that it does not use."""
    name, folder = checkpoint.name, checkpoint.folder
    check_files(folder, name)
    config = read_json(folder / "config.json", name)
    read_model_type(config, name)
    check_config_limits(config, name)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name} has no safetensors, and other formats are not loaded.")
    try:
        with _without_load_report():
            check_parameter_count(folder)
            network, report = AutoModelForVideoClassification.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **changes,
            )
    except Exception as error:  # a broken file can fail anywhere in transformers
        raise ModelError(f"The weights of {name} cannot be loaded: {error or type(error).__name__}") from error
    new = frozenset(report["missing_keys"]) | {key for key, *_ in report["mismatched_keys"]}
    return network, new, frozenset(report["unexpected_keys"])


@contextmanager
def _summarize(name: str) -> Iterator[None]:
    """Turns any exception caused by a broken checkpoint into a ModelError of one line."""
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, ModelError) else f"{name} cannot be loaded: {error!r}"
        raise ModelError(shorten(one_line(" ".join(text.split())), MAX_MESSAGE, placeholder=" ...")) from error


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Silences transformers' report of loaded weights in this thread; mismatches raise a ModelError instead."""
    thread = threading.get_ident()

    def is_other_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    handlers = tuple(logging.getLogger("transformers").handlers)
    for handler in handlers:
        handler.addFilter(is_other_thread)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_other_thread)


def _shorten(names: frozenset[str]) -> str:
    return f"{', '.join(sorted(names)[:3])} ..."


def _device(device: str | None) -> torch.device:
    if device is None:
        _warn_of_unused_gpu()
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
        if target.type != "cuda":
            torch.zeros(1, device=target).cpu()
    except Exception as error:  # kinds of device differ in what they raise
        raise ModelError(f"{device} is not a device that torch supports here; try cpu or cuda.") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("There is no CUDA GPU here; use the device cpu.")
    return target


def _warn_of_unused_gpu() -> None:
    """Logs a warning if there is an NVIDIA GPU, or a lent one (ZeroGPU), but torch was built without CUDA."""
    if torch.version.cuda is None and (NVIDIA.exists() or os.environ.get("SPACES_ZERO_GPU")):
        logging.getLogger(__name__).warning(
            "There is a GPU, but torch %s was built without CUDA and cannot use it. `make app TORCH=cuda` installs "
            "one that can; on a Space, remove the line --extra-index-url from requirements.txt.",
            torch.__version__,
        )
