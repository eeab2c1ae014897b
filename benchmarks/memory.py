"""Peak memory of a prediction, of an explanation, and of a prediction with transformers.

Each figure is the peak resident size of a separate process, including torch, transformers and random weights.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.race import Row, row

FAMILIES = ("timesformer", "vivit")
ANSWERS = ("plain", "int8", "rollout", "class", "transformers")


def measure(family: str, answer: str) -> float:
    """The peak of one prediction, in this process."""
    import torch
    from transformers import (
        PreTrainedModel,
        TimesformerConfig,
        TimesformerForVideoClassification,
        VivitConfig,
        VivitForVideoClassification,
    )

    from hmdb.explain.attribution import class_relevance, rollout
    from hmdb.model.families import use_recorded_attention
    from hmdb.model.optimize import optimize_for_inference

    network: PreTrainedModel = (
        TimesformerForVideoClassification(TimesformerConfig())
        if family == "timesformer"
        else VivitForVideoClassification(VivitConfig())
    )
    network.train(mode=False)
    if answer != "transformers":
        optimize_for_inference(use_recorded_attention(network), "int8" if answer == "int8" else "auto")
    pixel_values = torch.randn(1, network.config.num_frames, 3, 224, 224)
    if answer == "rollout":
        rollout(network, pixel_values)
    elif answer == "class":
        class_relevance(network, pixel_values)
    else:
        with torch.inference_mode():
            network(pixel_values=pixel_values)
    return peak()


def peak() -> float:
    """The peak resident size of this process in MB, on Linux. (`getrusage` would include the parent's.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    for family in FAMILIES:
        if f"{family}-base" not in models:
            continue
        for answer in ANSWERS:
            command = [sys.executable, "-m", "benchmarks.memory", family, answer]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
            yield row("memory", f"the peak of one answer, {family}-base", answer, [float(done.stdout)], "MB")


if __name__ == "__main__":
    sys.stdout.write(str(measure(*sys.argv[1:])))
