"""Storage of taught heads: a zip of the head alone, and a checkpoint folder with its network.

Both have the arrays as safetensors and all else as JSON. A zip may come from anyone: its files are read by name, up to
a size, and never unpacked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.numpy import load, save
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from hmdb.clips.clip import ClipSpec
from hmdb.errors import HmdbError, ModelError
from hmdb.teaching.card import write_card
from hmdb.teaching.features import check_label
from hmdb.teaching.fitting import Taught
from hmdb.teaching.head import Backbone, TaughtHead
from hmdb.teaching.rejection import StrangerDetector
from hmdb.text import first_line, one_line

ARRAYS_FILE, HEAD_FILE = "head.safetensors", "head.json"
FORMAT = 1
MAX_BYTES = 16 * 2**20  # of each file in a zip
OTHER_ARRAYS = (ARRAYS_FILE, "known.safetensors")  # safetensors in a checkpoint that are not of its network
HEAD_WEIGHTS = "classifier."  # prefix of the weights of a network's own head


def fingerprint(folder: Path, pixel_spec: Mapping[str, Any]) -> str:
    """The SHA-256 of what computes the features of a checkpoint: its weights without the classifier, and its
    preprocessing.
    """
    digest = hashlib.sha256(json.dumps(pixel_spec, sort_keys=True).encode())
    for name, tensor in sorted(_tensors(folder).items()):
        if not name.startswith(HEAD_WEIGHTS):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_zip(taught: Taught, file: Path | BinaryIO) -> None:
    """Writes a head without its network: about 60 kB for eight actions of 384 features.

    Raises:
        ModelError: the file cannot be written.
    """
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in _files(taught).items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    except OSError as error:
        raise ModelError(f"{_name(file)} cannot be written: {error.strerror}.") from error


def read_zip(file: Path | BinaryIO) -> TaughtHead:
    """Reads a head.

    Raises:
        ModelError: it is no zip of a head, too large, or damaged.
    """
    name = _name(file)
    try:
        with zipfile.ZipFile(file) as archive:
            if sorted(archive.namelist()) != sorted((ARRAYS_FILE, HEAD_FILE)):
                raise ModelError(f"{name} is not the zip of a taught head: it must hold {ARRAYS_FILE} and {HEAD_FILE}.")
            arrays, about = (_read(archive, each, name) for each in (ARRAYS_FILE, HEAD_FILE))
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{name} cannot be read: {error.strerror or first_line(error)}.") from error
    except Exception as error:  # zipfile and zlib raise many kinds for a damaged file
        raise ModelError(f"{name} is not a zip that can be read: {first_line(error)}") from error
    return _parse(arrays, about, name)


def read_folder(folder: Path, name: str) -> TaughtHead | None:
    """Reads the head of the checkpoint called `name`; None if it has none.

    Raises:
        ModelError: it is incomplete or damaged.
    """
    files = [folder / ARRAYS_FILE, folder / HEAD_FILE]
    missing = [file.name for file in files if not file.is_file()]
    if len(missing) == len(files):
        return None
    if missing:
        raise ModelError(f"The taught head of {name} is incomplete: {missing[0]} is missing.")
    arrays, about = (file.read_bytes() for file in files)
    return _parse(arrays, about, name)


def write_checkpoint(taught: Taught, folder: Path, output: Path) -> None:
    """Writes a checkpoint: the network of the checkpoint in `folder` under the taught head.

    The network's own classifier becomes the head on the whole clip, so that plain transformers loads it as well; where
    the head reads halves too, `hmdb` alone does, from the files of the head. All files are written, or none.

    Args:
        output: a new or empty folder.

    Raises:
        ModelError: a file cannot be written.
    """
    staging = output.resolve().with_name(f".{output.resolve().name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        for name, content in _checkpoint_files(taught, folder).items():
            (staging / name).write_bytes(content)
        staging.replace(output.resolve())
    except OSError as error:
        raise ModelError(f"{one_line(str(output))} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _checkpoint_files(taught: Taught, folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint by name."""
    head = taught.head
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key in ("known", "bfloat16", "int8", "num_labels"):  # measurements of other labels
        config.pop(key, None)
    config |= {
        "id2label": {str(index): label for index, label in enumerate(head.labels)},
        "label2id": {label: index for index, label in enumerate(head.labels)},
        "clip_spec": head.clip_spec.to_dict(),
        "calibration": {"temperature": head.temperature, "threshold": None},
    }
    own = {"weight": head.whole_weight, "bias": head.whole_bias}
    tensors = _tensors(folder) | {HEAD_WEIGHTS + name: torch.from_numpy(values) for name, values in own.items()}
    contents = {
        "config.json": json.dumps(config, indent=2, sort_keys=True).encode(),
        "model.safetensors": save_tensors(tensors, {"format": "pt"}),
        "README.md": write_card(taught).encode(),
        **_files(taught),
    }
    for path in folder.glob("*preprocessor_config.json"):
        contents[path.name] = path.read_bytes()
    return contents


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint's network, by name."""
    return {
        name: tensor
        for path in sorted(folder.glob("*.safetensors"))
        if path.name not in OTHER_ARRAYS
        for name, tensor in load_file(path).items()
    }


def _files(taught: Taught) -> dict[str, bytes]:
    """The files of a head by name."""
    head, detector = taught.head, taught.head.detector
    arrays = {name: getattr(head, name) for name in ("weight", "bias", "whole_weight", "whole_bias")}
    if detector:
        arrays |= {"means": detector.means, "none_weight": detector.none_weight}
    about = {
        "format": FORMAT,
        "labels": head.labels,
        "features": head.assembly,
        "temperature": head.temperature,
        "detector": detector and {"none_bias": detector.none_bias, "coefficients": detector.coefficients},
        "backbone": asdict(head.backbone),
        "clip_spec": head.clip_spec.to_dict(),
        "validation": taught.validation.to_dict(),
        "mirrored": taught.mirrored,
    }
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    return {ARRAYS_FILE: save(contiguous), HEAD_FILE: json.dumps(about, indent=2).encode()}


def _parse(arrays: bytes, about: bytes, name: str) -> TaughtHead:
    try:
        tensors, values = load(arrays), json.loads(about)
        if values["format"] != FORMAT:
            raise ModelError(f"format {values['format']} is not supported by this version.")
        labels = tuple(values["labels"])
        for label in labels:
            check_label(label)
        if len(set(labels)) < max(len(labels), 2):
            raise ModelError("two labels of different names are needed at least.")
        detector = None
        if values["detector"] is not None:
            numbers = [values["detector"]["none_bias"], *values["detector"]["coefficients"]]
            none_bias, *coefficients = (_number(each) for each in numbers)
            first, second, third, fourth = coefficients
            detector = StrangerDetector(
                means=tensors["means"],
                none_weight=tensors["none_weight"],
                none_bias=none_bias,
                coefficients=(first, second, third, fourth),
            )
        backbone = Backbone(**values["backbone"])
        if not (isinstance(backbone.name, str) and isinstance(backbone.sha256, str) and type(backbone.width) is int):
            raise ModelError("its network is not named.")
        return TaughtHead(
            labels=labels,
            assembly=values["features"],
            weight=tensors["weight"],
            bias=tensors["bias"],
            whole_weight=tensors["whole_weight"],
            whole_bias=tensors["whole_bias"],
            temperature=_number(values["temperature"], 1e-3, 1e3),
            detector=detector,
            backbone=backbone,
            clip_spec=ClipSpec.from_dict(values["clip_spec"]),
        )
    except HmdbError as error:
        raise ModelError(f"The taught head of {name} cannot be used: {one_line(str(error))}") from error
    except Exception as error:  # a damaged file can be anything
        raise ModelError(f"The taught head of {name} is damaged: {one_line(first_line(error))[:100]}") from error


def _number(value: object, low: float = -1e30, high: float = 1e30) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ModelError(f"a number from {low:g} to {high:g} is needed, not {value!r}.")
    return float(value)


def _read(archive: zipfile.ZipFile, member: str, name: str) -> bytes:
    with archive.open(member) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ModelError(f"{member} in {name} has more than {MAX_BYTES // 2**20} MB, so it is not read.")
    return content


def _name(file: Path | BinaryIO) -> str:
    return one_line(file.name) if isinstance(file, Path) else "the zip"
