"""Validation of checkpoints, which may be broken or hostile: each problem raises a ModelError of one line."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForVideoClassification, PreTrainedModel

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model.families import FAMILIES
from hmdb.model.preprocess import PixelSpec
from hmdb.model.processor_defaults import PIXELS_FILE, VIDEO_PIXELS_FILE
from hmdb.text import first_line, is_plain

# Upper limits of the sizes in config.json, as the network is built from it before the weights are read.
MAX_SIZES = {
    "hidden_size": 8192,
    "intermediate_size": 32768,
    "num_hidden_layers": 128,
    "num_attention_heads": 128,
    "image_size": 1024,
    "patch_size": 1024,
    "num_channels": 16,
    "num_frames": 256,
    "num_labels": 100_000,
}

MAX_LABEL = 200  # characters
MAX_JSON = 16 * 2**20  # bytes, a thousand times the usual size


def check_files(folder: Path, name: str) -> None:
    """Refuses pipes and devices, on which reading could block, and links out of the folder, which could expose files.
    Links from a snapshot to the blobs of the same repository in the Hub's cache are allowed.

    Raises:
        ModelError: there is such a file, a dangling link, JSON of more than 16 MB, or an index of weights elsewhere.
    """
    home = folder.resolve()
    places = [home, *([home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [])]
    for path in sorted(each for each in folder.iterdir() if each.suffix in (".json", ".safetensors")):
        target = path.resolve()
        if not any(target.is_relative_to(place) for place in places):
            raise ModelError(f"{path.name} of {name} is a link that leads out of its folder, so it is not read.")
        try:
            status = target.stat()
        except OSError as error:
            raise ModelError(f"{path.name} of {name} cannot be read: {error.strerror}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path.name} of {name} is not a regular file, so it is not read.")
        if path.suffix == ".json" and status.st_size > MAX_JSON:
            raise ModelError(f"{path.name} of {name} has more than {MAX_JSON // 2**20} MB, so it is not read.")
    for path in folder.glob("*.safetensors.index.json"):
        parts = read_json(path, name).get("weight_map")
        if not isinstance(parts, dict) or any(Path(str(part)).name != part for part in parts.values()):
            raise ModelError(f"{path.name} of {name} names weights outside its folder.")


def check_config_limits(config: Mapping[str, Any], name: str) -> None:
    """Refuses sizes for which transformers would allocate too much memory before any weight is read.

    Raises:
        ModelError: a size is not a whole number or is too large.
    """
    for key, largest in MAX_SIZES.items():
        value = config.get(key, 1)
        if type(value) is not int or not 1 <= value <= largest:
            raise ModelError(
                f"{key} in config.json of {name} must be a whole number from 1 to {largest}, not {value!r}."
            )
    if len(config.get("id2label") or ()) > MAX_SIZES["num_labels"]:
        raise ModelError(f"{name} has more than {MAX_SIZES['num_labels']} labels.")


def check_parameter_count(folder: Path) -> None:
    """Refuses a network much larger than its files, before memory is allocated for it.

    Raises:
        ValueError: config.json describes more parameters than the safetensors have bytes.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        required = AutoModelForVideoClassification.from_config(config).num_parameters()  # type: ignore[no-untyped-call]
    available = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if required > available:
        raise ValueError(f"config.json describes {required} parameters, but the files have {available} bytes.")


def dry_run(
    network: PreTrainedModel, labels: tuple[str, ...], clip_spec: ClipSpec, pixel_spec: PixelSpec, name: str
) -> None:
    """A forward pass on torch's meta device, without data, that checks all shapes.

    Raises:
        ModelError: a shape does not fit.
    """
    weights = {key: value.to("meta") for key, value in network.state_dict().items()}
    clip = torch.empty(1, clip_spec.num_frames, 3, *pixel_spec.shape, device="meta")
    try:
        with torch.inference_mode():
            logits = torch.func.functional_call(network, weights, kwargs={"pixel_values": clip}).logits
    except Exception as error:  # a broken config.json can fail anywhere in the network
        raise ModelError(f"{name} cannot run: {error or type(error).__name__}") from error
    if logits.shape != (1, len(labels)):
        raise ModelError(f"{name} does not return one logit for each of its {len(labels)} labels.")


def check_input_shape(config: Any, clip_spec: ClipSpec, pixel_spec: PixelSpec, name: str) -> None:
    """Refuses a clip length or frame size that differs from the network's, which it might accept with wrong results.

    Raises:
        ModelError: the number of frames or their size differ.
    """
    if clip_spec.num_frames != config.num_frames:
        raise ModelError(f"{name} takes {config.num_frames} frames, not the {clip_spec.num_frames} of its clip spec.")
    if pixel_spec.shape != (config.image_size, config.image_size):
        height, width = pixel_spec.shape
        raise ModelError(f"{name} takes frames of {config.image_size}x{config.image_size}, not {height}x{width}.")


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Reads a JSON object of the checkpoint called `name`.

    Raises:
        ModelError: the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{name} has no {path.name}, so it is not a checkpoint that can be used.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} of {name} cannot be read: {first_line(error)}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} of {name} is not a JSON object.")
    return value


def read_pixel_spec(folder: Path, name: str, model_type: str | None) -> PixelSpec:
    """Reads the preprocessing of the checkpoint called `name`.

    Raises:
        ModelError: its file is missing, invalid or of an unsupported processor.
    """
    files = (folder / PIXELS_FILE, folder / VIDEO_PIXELS_FILE)
    config = read_json(next((file for file in files if file.is_file()), files[0]), name)
    family = FAMILIES.get(model_type or "")
    return PixelSpec.from_dict(config, family.processor if family else None)


def read_model_type(config: Mapping[str, Any], name: str) -> str:
    """The key in `FAMILIES` of the checkpoint called `name`.

    Raises:
        ModelError: the architecture is not supported.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(f"{name} is a {model_type} model; supported are {', '.join(FAMILIES)}.")
    return model_type


def read_labels(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The labels of the checkpoint called `name`, in the order of its logits.

    Raises:
        ModelError: labels are missing, unnamed, duplicate, too long, or contain control characters.
    """
    id2label = config.get("id2label") or {}
    if not isinstance(id2label, dict):
        raise ModelError(f"The labels of {name} (id2label in config.json) are not an object.")
    try:
        labels = tuple(id2label[str(index)] for index in range(len(id2label)))
    except KeyError as error:
        raise ModelError(f"The labels of {name} are not numbered 0 to {len(id2label) - 1}.") from error
    if not labels or labels == tuple(f"LABEL_{index}" for index in range(len(labels))):
        raise ModelError(f"{name} does not name its labels (id2label in config.json).")
    for label in labels:
        if not (isinstance(label, str) and label.strip() and is_plain(label) and len(label) <= MAX_LABEL):
            raise ModelError(
                f"A label of {name} must be 1 to {MAX_LABEL} characters without control characters, not {label!r}."
            )
    if len(set(labels)) < len(labels):
        twice = next(label for index, label in enumerate(labels) if label in labels[:index])
        raise ModelError(f"{name} has two labels of the same name, {twice}.")
    return labels
