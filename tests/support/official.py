"""The official checkpoints as they lie on the Hub: names, files and their contents, with small weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForVideoClassification, TimesformerConfig, VivitConfig

from hmdb.model.hub import CONVERSION_ROBOT, SAFETENSORS_REVISIONS
from tests.support.hub import HubServer

VIVIT_K400 = "google/vivit-b-16x2-kinetics400"

TIMESFORMER_PIXELS: dict[str, Any] = {  # facebook/timesformer-base-finetuned-k400 at 4022b66, and -ssv2 at 3b04527
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "VideoMAEFeatureExtractor",
    "image_mean": [0.45, 0.45, 0.45],
    "image_processor_type": "VideoMAEImageProcessor",
    "image_std": [0.225, 0.225, 0.225],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
VIVIT_PIXELS: dict[str, Any] = {  # google/vivit-b-16x2-kinetics400 at 8a7171a: no offset, and a class of that spelling
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00784313725490196,
    "size": {"shortest_edge": 224},
}


def add_official(
    hub: HubServer, name: str, config: TimesformerConfig | VivitConfig, pixels: dict[str, Any], folder: Path
) -> Path:
    """Puts a small network with random, seeded weights on a Hub under an official name, laid out as there.

    On `main` lies a pickle, which nobody may touch; the safetensors wait in the conversion robot's pull request,
    after others without weights.

    Returns:
        `folder`, which then holds config.json, preprocessor_config.json and model.safetensors.
    """
    torch.manual_seed(0)
    classes = {number: f"action {number}" for number in range(400)}
    labels = {"id2label": classes, "label2id": {label: number for number, label in classes.items()}}
    named = type(config).from_dict(config.to_dict() | labels)
    AutoModelForVideoClassification.from_config(named).save_pretrained(folder)  # type: ignore[no-untyped-call]
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    configs = {path: content for path, content in files.items() if path.endswith(".json")}
    hub.add(name, configs | {"pytorch_model.bin": b"a pickle", "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n"})
    number = int(SAFETENSORS_REVISIONS[name].rpartition("/")[2])
    for _ in range(1, number):
        hub.add_pull_request(name, "fix config files", "someone", configs)
    hub.add_pull_request(name, "Adding `safetensors` variant of this model", CONVERSION_ROBOT, files)
    return folder
