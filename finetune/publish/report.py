"""What came of a checkpoint on a part of the data: report.json, report.md and figures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from finetune.data.splits import Splits
from finetune.evaluation import figures
from finetune.evaluation.calibrate import expected_calibration_error, reliability
from finetune.evaluation.metrics import (
    Outcome,
    confused_pairs,
    confusion,
    headline,
    per_class,
)
from finetune.run_folder import REPORT_FILE
from hmdb.errors import HmdbError
from hmdb.explain.maps import class_relevance, normalized
from hmdb.figures import overlay
from hmdb.machine import num_processes
from hmdb.model.attention import grid
from hmdb.model.calibration import Calibration
from hmdb.model.preprocess import PixelSpec, normalize
from hmdb.text import readable

REPORT_TEXT = "report.md"
FIGURES = "figures"
TOP = 5
LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "scikit-learn", "huggingface-hub")


def describe(splits: Splits, broken: Mapping[str, str]) -> dict[str, Any]:
    """The data of a report."""
    counts = {part: len(samples) for part, samples in splits.parts().items()}
    return {
        "name": splits.data,
        "on_hub": splits.on_hub,
        "split": {"origin": splits.origin, "hash": splits.hash, **counts},
        "unlabelled": 0,
        "broken": dict(broken),
    }


def details(outcome: Outcome, labels: Sequence[str], calibration: Calibration) -> dict[str, Any]:
    """All that a report says of one part, ready for JSON."""
    counts = confusion(outcome.logits, outcome.classes)
    plain, calibrated = (each.probabilities(outcome.logits) for each in (Calibration(), calibration))
    best = np.argsort(-calibrated, axis=1, kind="stable")[:, :TOP]
    return {
        **headline(outcome),
        "per_class": per_class(outcome.logits, outcome.classes, labels),
        "confusion": counts.tolist(),
        "confused_pairs": confused_pairs(counts, labels),
        "calibration": {
            **calibration.to_dict(),
            "expected_error": expected_calibration_error(calibrated, outcome.classes),
            "expected_error_without_temperature": expected_calibration_error(plain, outcome.classes),
        },
        "answers": [
            {
                "clip": name,
                "label": labels[true],
                "top": [[labels[index], round(float(probabilities[index]), 4)] for index in order],
            }
            for name, true, order, probabilities in zip(outcome.names, outcome.classes, best, calibrated, strict=True)
        ],
    }


def surroundings() -> dict[str, Any]:
    """What it ran on: device, memory and versions."""
    on_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {os.cpu_count()} cores",
        "processes": num_processes(),
        "peak_gpu_memory": torch.cuda.max_memory_allocated() if on_gpu else None,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }


def write(
    report: dict[str, Any],
    folder: Path,
    outcome: Outcome,
    dataset: ClipDataset,
    network: PreTrainedModel,
    pixel_spec: PixelSpec,
) -> None:
    """Writes the figures, report.md and, last, report.json.

    Args:
        report: has the outcome's details under the name of its part.
        dataset: the clips of the outcome.
        network: in eval mode; it draws what it looked at in an example.
    """
    found = report[outcome.part]
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    labels = report["classes"]
    drawn = {"confusion": figures.confusion_matrix(np.array(found["confusion"]), labels)}
    probabilities = _calibration(found).probabilities(outcome.logits)
    drawn["calibration"] = figures.reliability_chart(*reliability(probabilities, outcome.classes))
    for kind, index in _examples(found["answers"]).items():
        answer = found["answers"][index]
        frames = _attended(dataset.frames(index), network, pixel_spec)
        names, values = zip(*answer["top"], strict=True)
        drawn[kind] = figures.answer_figure(frames, names, values, truth=answer["label"])
    for kind, figure in drawn.items():
        figure.savefig(folder / FIGURES / f"{kind}.png")
    (folder / REPORT_TEXT).write_text(to_markdown(report, outcome.part, sorted(drawn)), encoding="utf-8")
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _calibration(found: dict[str, Any]) -> Calibration:
    return Calibration(temperature=found["calibration"]["temperature"], threshold=found["calibration"]["threshold"])


def _examples(answers: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The surest right and the surest wrong answer, by index (paper, figures 6 and 7)."""
    found: dict[str, int] = {}
    for index in sorted(range(len(answers)), key=lambda index: -answers[index]["top"][0][1]):
        right = answers[index]["top"][0][0] == answers[index]["label"]
        found.setdefault("right" if right else "wrong", index)
    return found


def _attended(pixels: np.ndarray, network: PreTrainedModel, pixel_spec: PixelSpec) -> np.ndarray:
    """The frames with what speaks for the answer over them; plain where that cannot be told (figure 5)."""
    values = normalize(torch.from_numpy(pixels)[None], pixel_spec).to(network.device)
    try:
        _, relevance = class_relevance(network, values)
        heat, _ = normalized(relevance, grid(network.config).frames)
    except HmdbError:
        return pixels
    return overlay(pixels, heat)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def with_interval(found: dict[str, Any], name: str) -> str:
    """As people read it: "93.6 % (87.9 to 96.7)"."""
    low, high = found[f"{name}_interval"]
    return f"{percent(found[name])} % ({percent(low)} to {percent(high)})"


def to_markdown(report: dict[str, Any], part: str, drawn: Sequence[str]) -> str:
    """report.md."""
    found, data = report[part], report["data"]
    lines = [f"# {report['model']} on {data['name']}", "", "| clips | | top-1 | top-5 |", "|---|---|---|---|"]
    for name in ("val", "test"):
        if name in report:
            row = report[name]
            lines.append(f"| {name} | {row['clips']} | {with_interval(row, 'top1')} | {with_interval(row, 'top5')} |")
    if alone := report.get("test_alone"):
        values = f"{alone['clips']} | {with_interval(alone, 'top1')} | {with_interval(alone, 'top5')}"
        lines.append(f"| test, without those that resemble a train or val clip | {values} |")
    lines += ["", "In brackets the 95 % Wilson interval.", ""]
    if "confusion" in drawn:
        lines += [f"![confusion matrix]({FIGURES}/confusion.png)", ""]
    lines += ["## Classes", "", "| class | precision | recall | F1 | clips |", "|---|---|---|---|---|"]
    for row in found["per_class"]:
        shares = " | ".join(f"{row[name]:.2f}" for name in ("precision", "recall", "f1"))
        lines.append(f"| {readable(row['label'])} | {shares} | {row['clips']} |")
    if found["confused_pairs"]:
        lines += ["", "Most often confused:", ""]
        lines += [
            f"- {readable(pair['label'])} taken for {readable(pair['taken_for'])}: {pair['clips']}"
            for pair in found["confused_pairs"]
        ]
    if compared := report.get("arithmetic"):
        lines += ["", *_arithmetic_lines(compared)]
    calibration = found["calibration"]
    lines += [
        "",
        "## Calibration",
        "",
        f"Expected calibration error {percent(calibration['expected_error'])} % with the temperature "
        f"{calibration['temperature']:.2f}, {percent(calibration['expected_error_without_temperature'])} % without.",
        "",
        f"![calibration]({FIGURES}/calibration.png)",
        "",
        "## Examples",
        "",
    ]
    lines += [f"![{kind}]({FIGURES}/{kind}.png)\n" for kind in ("right", "wrong") if kind in drawn]
    lines += ["## Data", "", *_data_lines(data), "", "## Run", "", *_run_lines(report)]
    return "\n".join(lines) + "\n"


def _arithmetic_lines(found: dict[str, Any]) -> list[str]:
    """Of what `finetune.evaluation.precision.compare` found."""
    name = found["dtype"]
    plain, other = found["float32"], found[name]
    lines = ["## Arithmetic", "", f"| | float32 | {name} | |", "|---|---|---|---|"]
    for key, title in (("top1", "top-1"), ("top5", "top-5")):
        change = f"{found[f'{key}_change']:+.1f} points"
        lines.append(f"| {title} | {percent(plain[key])} % | {percent(other[key])} % | {change} |")
    for key, title, unit in (
        ("median_ms", "one clip, median", "ms"),
        ("least_ms", "one clip, least", "ms"),
        ("weights_mb", "weights in memory", "MB"),
    ):
        times = f"x {other[key] / plain[key]:.2f}"
        lines.append(f"| {title} | {plain[key]:.1f} {unit} | {other[key]:.1f} {unit} | {times} |")
    return [
        *lines,
        "",
        "Each clip was answered in both, in turn. The first answer is the same for "
        f"{percent(found['same_top1'])} % of them; the largest change of a probability is "
        f"{found['largest_probability_change']:.4f}. On disk the weights stay as they are, "
        f"{found['on_disk_mb']:.1f} MB. All other figures here are those in {name}.",
    ]


def _data_lines(data: dict[str, Any]) -> list[str]:
    split = data["split"]
    lines = [
        f"- split: {split['origin']}; {split['train']} train, {split['val']} val, {split['test']} test; "
        f"hash `{split['hash']}`"
    ]
    if data["unlabelled"]:
        lines.append(f"- and {data['unlabelled']} unlabelled clips, on which the teacher alone was asked")
    if data.get("more"):
        lines.append(f"- and {data['more']} further clips, for training alone")
    if data["broken"]:
        lines.append(f"- {len(data['broken'])} clip(s) could not be read and were left out:")
        lines += [f"  - {name}: {reason}" for name, reason in data["broken"].items()]
    return lines + [f"- {line}" for line in data.get("leak_lines", ())]


def _run_lines(report: dict[str, Any]) -> list[str]:
    speed = report["speed"]
    lines = []
    if report.get("recipe"):
        settings = ", ".join(f"{name} {value}" for name, value in report["recipe"].items())
        lines.append(f"- recipe {report['recipe_name']}: {settings}")
        lines.append(f"- best epoch: {report['best_epoch']:g} of {len(report['epochs'])}, by val top-1")
    lines.append(f"- weights from {report['base'] or 'random numbers'}, {report['parameters'] / 1e6:.1f} M parameters")
    if speed.get("train_clips_per_second"):
        lines.append(f"- training: {speed['train_clips_per_second']:.1f} clips/s")
    lines.append(f"- evaluation: {speed['eval_clips_per_second']:.1f} clips/s; {speed['seconds']:.0f} s in all")
    if report["peak_gpu_memory"]:
        lines.append(f"- peak GPU memory: {report['peak_gpu_memory'] / 2**30:.1f} GiB")
    lines.append(f"- {report['processes']} process(es), {report['device']}")
    lines.append("- " + ", ".join(f"{name} {number}" for name, number in report["versions"].items()))
    return lines
