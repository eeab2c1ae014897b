"""Finds a checkpoint and loads it: a local folder, the Hub, the one that is bundled.

Safetensors only and no remote code. Whatever is loaded says where it came from and, where it is
not what was asked for, why.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from transformers import AutoConfig, AutoModelForVideoClassification, PreTrainedModel

from hmdb.calibration import Calibration
from hmdb.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.int8 import WORST, Int8Cost
from hmdb.preprocess import PIXELS_FILE, PixelSpec

MODEL_VARIABLE = "HMDB_MODEL"
KINETICS_400 = "facebook/timesformer-base-finetuned-k400"
BUNDLED = Path(__file__).parent / "bundled"
HUB_SECONDS = 2.5  # until the Hub counts as out of reach; its own client retries for 23 s

CLIP_SPEC_KEY = "clip_spec"  # in config.json
CALIBRATION_KEY = "calibration"  # in config.json; it may be missing
INT8_KEY = "int8"  # likewise
FILES = ("config.json", PIXELS_FILE, "*.safetensors", "*.safetensors.index.json")

# What a checkpoint without a clip spec was trained on.
FAMILIES = {
    "timesformer": ClipSpec(num_frames=8, stride=32, sampler="uniform"),
    "vivit": ClipSpec(num_frames=32, stride=2, sampler="centered"),
}

# The `main` of these holds a pickle only; their safetensors wait in the pull request of the Hub's
# conversion robot. A pull request can move, and its commit is not pinned here; whatever it moves to is
# still read as safetensors only, which cannot carry code, and the answer names its commit.
SAFETENSORS_REVISIONS = {
    "facebook/timesformer-base-finetuned-k400": "refs/pr/5",
    "facebook/timesformer-base-finetuned-ssv2": "refs/pr/5",
    "google/vivit-b-16x2-kinetics400": "refs/pr/3",
}
CONVERSION_ROBOT = "SFconvertbot"

# What a network is made of, and how large it may say that it is: it is built before its weights are seen.
SIZES = {
    "hidden_size": 8192,
    "intermediate_size": 32768,
    "num_hidden_layers": 128,
    "num_attention_heads": 128,
    "image_size": 1024,
    "patch_size": 1024,
    "num_channels": 16,
    "num_frames": 256,
}
MAX_LABEL = 200  # characters
MAX_MESSAGE = 300  # characters


class HubUnreachableError(ModelError):
    """The Hub did not answer in time."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on this machine's disk.

    Attributes:
        folder: where config.json, preprocessor_config.json and the safetensors are.
        name: what to call it: its Hub id, its folder's name, "bundled".
        revision: its commit on the Hub; None for a local one.
    """

    folder: Path
    name: str
    revision: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A checkpoint ready to answer.

    Attributes:
        network: the video classifier, in eval mode; float32 on a CPU.
        labels: the label of each logit.
        clip_spec: how its clips are taken.
        pixel_spec: what is done to their pixels.
        checkpoint: which one it is.
        calibration: how its logits become probabilities.
        int8_cost: what int8 costs it; None where nobody has measured that.
        notes: what its user should know, a sentence each: why it answers in place of another,
            what it did not say about itself.
    """

    network: PreTrainedModel
    labels: tuple[str, ...]
    clip_spec: ClipSpec
    pixel_spec: PixelSpec
    checkpoint: Checkpoint
    calibration: Calibration = field(default_factory=Calibration)
    int8_cost: Int8Cost | None = None
    notes: tuple[str, ...] = ()

    @property
    def no_int8(self) -> str | None:
        """Why int8 is not to be offered, in a sentence; None where it may be."""
        if self.network.device.type != "cpu":
            return "int8 is for a CPU."
        if self.int8_cost is None:
            return f"nobody has measured what it costs {self.checkpoint.name}."
        if not self.int8_cost.is_small:
            cost = self.int8_cost
            return (
                f"{self.checkpoint.name} loses {-cost.top1_change:.1f} points of top-1 by it on {cost.clips} "
                f"{cost.part} clips, more than {-WORST:g}."
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """All but the network and where it lies, ready for JSON."""
        return {
            "model": self.checkpoint.name,
            "revision": self.checkpoint.revision,
            "num_labels": len(self.labels),
            "clip_spec": self.clip_spec.to_dict(),
            "pixel_spec": self.pixel_spec.to_dict(),
            "calibration": self.calibration.to_dict(),
            "int8": {"offered": self.no_int8 is None, "cost": self.int8_cost.to_dict() if self.int8_cost else None},
            "notes": list(self.notes),
        }


def load(model: str | Path | None = None, revision: str | None = None, device: str | None = None) -> LoadedModel:
    """The model to answer with.

    Args:
        model: a local folder or a Hub id. With none, the environment variable HMDB_MODEL; where that
            cannot be loaded the Kinetics-400 weights, and where those cannot either the bundled
            checkpoint, with the reasons in `notes`. Without the variable the bundled checkpoint at
            once; the network is not asked.
        revision: branch, tag or commit on the Hub.
        device: as torch names it; a GPU where there is one, if not given.

    Raises:
        ModelError: the model asked for by argument cannot be loaded, or there is no such device, or no
            model that the revision could be of.
    """
    target = _device(device)
    if model is not None:
        return read(find(model, revision), target)
    wanted = os.environ.get(MODEL_VARIABLE, "").strip()
    if revision is not None and not wanted:
        raise ModelError(f"No model is named that {revision} could be a revision of.")
    notes: list[str] = []
    online = True
    for candidate in dict.fromkeys((wanted, KINETICS_400)) if wanted else ():
        try:
            loaded = read(find(candidate, revision if candidate == wanted else None, online=online), target)
            break
        except ModelError as error:
            online = online and not isinstance(error, HubUnreachableError)
            notes.append(f"{candidate} is not in use: {error}")
    else:
        loaded = read(Checkpoint(folder=BUNDLED, name="bundled"), target)
    return replace(loaded, notes=(*notes, *loaded.notes))


def find(model: str | Path, revision: str | None = None, *, online: bool = True) -> Checkpoint:
    """The checkpoint of a local folder or a Hub id, downloaded if need be.

    Args:
        online: whether the Hub may be asked; if not, only what an earlier download left is found.

    Raises:
        HubUnreachableError: the Hub does not answer and nothing was downloaded before.
        ModelError: there is no such folder or id, it holds no safetensors, or a revision of a folder.
    """
    folder = Path(model)
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{folder.resolve().name} is a folder here and has no revisions, so no {revision}.")
        return Checkpoint(folder=folder, name=folder.resolve().name)
    name = str(model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is neither a folder here nor a Hub id of the form owner/name.")
    cause = None
    if online:
        try:
            return _download(name, _safetensors_revision(name, revision), online=True)
        except HubUnreachableError as error:
            cause = error
    for kept in dict.fromkeys((revision, revision or SAFETENSORS_REVISIONS.get(name))):
        with suppress(ModelError):
            return _download(name, kept, online=False)
    raise HubUnreachableError("the Hub is out of reach.") from cause


def read(checkpoint: Checkpoint, device: torch.device | None = None) -> LoadedModel:
    """Reads a checkpoint from disk.

    Raises:
        ModelError: a file is missing or wrong, the architecture is not known, labels are missing or
            mangled, the weights are not those that config.json asks for or not finite, or the clip spec
            does not fit the network.
    """
    with _in_one_line(checkpoint.name):
        return _read(checkpoint, device or _device(None))


def _read(checkpoint: Checkpoint, device: torch.device) -> LoadedModel:
    name, folder = checkpoint.name, checkpoint.folder
    config = read_json(folder / "config.json", name)
    family = _family(config, name)
    labels = _labels(config, name)
    notes = []
    if CLIP_SPEC_KEY in config:
        clip_spec = ClipSpec.from_dict(config[CLIP_SPEC_KEY])
    else:
        clip_spec = replace(FAMILIES[family], num_frames=config.get("num_frames", FAMILIES[family].num_frames))
        notes.append(f"{name} does not say how its clips were sampled; the usual way of its family is used.")
    pixel_spec = PixelSpec.from_dict(read_json(folder / PIXELS_FILE, name))
    calibration = Calibration.from_dict(config.get(CALIBRATION_KEY, {}))
    int8_cost = Int8Cost.from_dict(config[INT8_KEY]) if INT8_KEY in config else None
    network, new, unused = _read_network(checkpoint)
    if new:
        raise ModelError(f"{name} lacks weights that its config.json asks for: {_some(new)}")
    if unused:
        raise ModelError(f"{name} has weights that its config.json has no place for: {_some(unused)}")
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise ModelError(f"The weights of {name} are damaged: some are not finite numbers.")
    check_fit(network.config, clip_spec, pixel_spec, name)
    _rehearse(network, labels, clip_spec, pixel_spec, name)
    try:
        network.train(False).to(device)
    except RuntimeError as error:
        raise ModelError(f"{name} does not go onto {device}: {_first_line(error)}") from error
    return LoadedModel(
        network=network,
        labels=labels,
        clip_spec=clip_spec,
        pixel_spec=pixel_spec,
        checkpoint=checkpoint,
        calibration=calibration,
        int8_cost=int8_cost,
        notes=tuple(notes),
    )


def read_network(checkpoint: Checkpoint, **changes: Any) -> tuple[PreTrainedModel, frozenset[str]]:
    """The network of a checkpoint, in float32 on the CPU, and the names of its weights that are new
    because the checkpoint holds none of that name and shape.

    Args:
        changes: to its configuration, as `from_pretrained` takes them; another number of labels, say.

    Raises:
        ModelError: an unknown architecture, or weights that are missing, broken or no safetensors.
    """
    with _in_one_line(checkpoint.name):
        network, new, _ = _read_network(checkpoint, **changes)
        return network, new


def _read_network(checkpoint: Checkpoint, **changes: Any) -> tuple[PreTrainedModel, frozenset[str], frozenset[str]]:
    """The network, the names of its weights that are new, and those in the checkpoint that it has no place for."""
    name, folder = checkpoint.name, checkpoint.folder
    config = read_json(folder / "config.json", name)
    _family(config, name)
    for key, largest in SIZES.items():
        value = config.get(key, 1)
        if type(value) is not int or not 1 <= value <= largest:
            raise ModelError(
                f"{key} in config.json of {name} must be a whole number from 1 to {largest}, not {value!r}."
            )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name} has no weights as safetensors, and other formats are not loaded.")
    try:
        with _without_load_report():
            _check_size(folder)
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
    except Exception as error:  # a mangled file fails in any part of transformers
        raise ModelError(f"The weights of {name} cannot be loaded: {error or type(error).__name__}") from error
    new = frozenset(report["missing_keys"]) | {key for key, *_ in report["mismatched_keys"]}
    return network, new, frozenset(report["unexpected_keys"])


def _check_size(folder: Path) -> None:
    """Refuses a network far larger than its files before memory is taken for it."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        asked = AutoModelForVideoClassification.from_config(config).num_parameters()  # type: ignore[no-untyped-call]
    there = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if asked > there:
        raise ValueError(f"config.json asks for {asked} numbers, and they are {there} bytes.")


def _rehearse(
    network: PreTrainedModel, labels: tuple[str, ...], clip_spec: ClipSpec, pixel_spec: PixelSpec, name: str
) -> None:
    """One pass without numbers (on torch's meta device, in no time), which shows whether all shapes fit."""
    weights = {key: value.to("meta") for key, value in network.state_dict().items()}
    clip = torch.empty(1, clip_spec.num_frames, 3, *pixel_spec.shape, device="meta")
    try:
        with torch.inference_mode():
            logits = torch.func.functional_call(network, weights, kwargs={"pixel_values": clip}).logits
    except Exception as error:  # whatever part of the network a mangled config.json breaks
        raise ModelError(f"{name} cannot answer: {error or type(error).__name__}") from error
    if logits.shape != (1, len(labels)):
        raise ModelError(f"{name} does not give one number for each of its {len(labels)} labels.")


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Whatever a mangled checkpoint makes raise becomes a ModelError of one printable line."""
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, ModelError) else f"{name} cannot be loaded: {error!r}"
        printable = "".join(character if character.isprintable() else " " for character in text)
        raise ModelError(shorten(printable, MAX_MESSAGE, placeholder=" ...")) from error


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Keeps transformers from printing, in this thread; what matters of its table of weights is raised."""
    thread = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    handlers = tuple(logging.getLogger("transformers").handlers)
    for handler in handlers:
        handler.addFilter(others)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(others)


def _some(names: frozenset[str]) -> str:
    return f"{', '.join(sorted(names)[:3])} ..."


def check_fit(config: Any, clip_spec: ClipSpec, pixel_spec: PixelSpec, name: str) -> None:
    """Refuses a clip that the network would take in silence and scramble: one of another length.

    Raises:
        ModelError: frames or their size differ.
    """
    if clip_spec.num_frames != config.num_frames:
        raise ModelError(f"{name} takes {config.num_frames} frames, not the {clip_spec.num_frames} of its clip spec.")
    if pixel_spec.shape != (config.image_size, config.image_size):
        height, width = pixel_spec.shape
        raise ModelError(f"{name} takes frames of {config.image_size}x{config.image_size}, not {height}x{width}.")


def read_json(path: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the checkpoint called `name`.

    Raises:
        ModelError: the file is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{name} has no {path.name}, so it is not a checkpoint that can be used.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} of {name} cannot be read: {_first_line(error)}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} of {name} is not a JSON object.")
    return value


def _family(config: Mapping[str, Any], name: str) -> str:
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ModelError(f"{name} is a {family} model; known are {', '.join(FAMILIES)}.")
    return family


def _labels(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    id2label = config.get("id2label") or {}
    if not isinstance(id2label, dict):
        raise ModelError(f"The labels of {name} (id2label in config.json) are not an object.")
    try:
        labels = tuple(id2label[str(index)] for index in range(len(id2label)))
    except KeyError as error:
        raise ModelError(f"The labels of {name} are not numbered 0 to {len(id2label) - 1}.") from error
    if not labels or labels == tuple(f"LABEL_{index}" for index in range(len(labels))):
        raise ModelError(f"{name} does not name its labels (id2label in config.json), so its answers would be numbers.")
    for label in labels:
        if not (isinstance(label, str) and label.strip() and label.isprintable() and len(label) <= MAX_LABEL):
            raise ModelError(f"A label of {name} must be 1 to {MAX_LABEL} printable characters, not {label!r}.")
    if len(set(labels)) < len(labels):
        twice = next(label for index, label in enumerate(labels) if label in labels[:index])
        raise ModelError(f"{name} has two labels of the same name, {twice}.")
    return labels


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
        if target.type != "cuda":
            torch.zeros(1, device=target).cpu()
    except Exception as error:  # each kind of device has its own way to be missing
        raise ModelError(f"{device} is not a device that torch knows here; try cpu or cuda.") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("There is no CUDA GPU here; try the device cpu.")
    return target


def _safetensors_revision(name: str, revision: str | None) -> str | None:
    """The revision to download: the one asked for, else `main` if it has safetensors, else the robot's."""
    files = _files_on_hub(name, revision)
    if any(file.endswith(".safetensors") for file in files):
        return revision
    if revision is None:
        converted = SAFETENSORS_REVISIONS.get(name) or _robots_revision(name)
        if converted:
            return converted
    raise ModelError(f"{name} has no weights as safetensors on the Hub, and pickles are not loaded.")


def _files_on_hub(name: str, revision: str | None) -> list[str]:
    """Lists a repository, and is the one probe that tells whether the Hub can be reached.

    It runs in a thread of its own because no time-out of the client covers the name look-up.
    """
    answer: list[list[str]] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            info = HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS)
            answer.append([file.rfilename for file in info.siblings or []])
        except Exception as error:  # handed to the caller's thread, which sorts it
            failure.append(error)

    thread = threading.Thread(target=ask, name="hub-probe", daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if answer:
        return answer[0]
    cause = failure[0] if failure else None
    match cause:
        case GatedRepoError():
            raise ModelError(f"{name} is gated: accept its terms on the Hub and set HF_TOKEN.") from cause
        case RepositoryNotFoundError():
            raise ModelError(f"{name} is not on the Hub, or is private: set HF_TOKEN to see it.") from cause
        case RevisionNotFoundError():
            raise ModelError(f"{name} has no revision {revision}.") from cause
        case HfHubHTTPError():
            raise ModelError(f"The Hub refused {name}: {_first_line(cause)}") from cause
        case ValueError():
            raise ModelError(f"{name} is not a valid Hub id.") from cause
    raise HubUnreachableError("the Hub is out of reach.") from cause


def _robots_revision(name: str) -> str | None:
    try:
        requests = HfApi().get_repo_discussions(name, author=CONVERSION_ROBOT, discussion_type="pull_request")
        return next((f"refs/pr/{request.num}" for request in requests if "safetensors" in request.title), None)
    except HfHubHTTPError as error:
        raise ModelError(f"The pull requests of {name} cannot be listed: {_first_line(error)}") from error


def _download(name: str, revision: str | None, *, online: bool) -> Checkpoint:
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=not online)
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        raise ModelError(f"{name} cannot be downloaded: {_first_line(error)}") from error
    return Checkpoint(folder=Path(folder), name=name, revision=Path(folder).name)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
