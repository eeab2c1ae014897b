"""Peak memory of a plain and of an explained answer: `python -m benchmarks.memory`.

Random weights at full size serve: memory and time do not depend on what was learned. Each figure is the
peak resident size of a process of its own, since a peak cannot be taken back, with torch, transformers
and the weights in it. The ratio to the plain answer is what an explanation costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

FAMILIES = ("timesformer", "vivit")
ANSWERS = ("eager", "plain", "rollout", "class")


def measure(family: str, answer: str) -> dict[str, float]:
    """The figures of one answer, in this process."""
    import torch
    from transformers import (
        PreTrainedModel,
        TimesformerConfig,
        TimesformerForVideoClassification,
        VivitConfig,
        VivitForVideoClassification,
    )

    from hmdb.attention import class_relevance, fuse, rollout

    network: PreTrainedModel = (
        TimesformerForVideoClassification(TimesformerConfig())
        if family == "timesformer"
        else VivitForVideoClassification(VivitConfig())
    )
    network.train(mode=False)
    if answer != "eager":
        fuse(network)
    pixel_values = torch.randn(1, network.config.num_frames, 3, 224, 224)
    loaded = peak()
    begin = time.perf_counter()
    if answer == "rollout":
        rollout(network, pixel_values)
    elif answer == "class":
        class_relevance(network, pixel_values)
    else:
        with torch.inference_mode():
            network(pixel_values=pixel_values)
    return {"loaded": loaded, "peak": peak(), "seconds": time.perf_counter() - begin}


def peak() -> float:
    """The largest resident size of this process until now, in MB."""
    kilo = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilo / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--one", nargs=2, metavar=("FAMILY", "ANSWER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(measure(*arguments.one)))
        return
    row = "{:<12} {:<8} {:>10} {:>9} {:>9} {:>8}\n"
    sys.stdout.write(row.format("model", "answer", "loaded MB", "peak MB", "x plain", "seconds"))
    for family in FAMILIES:
        figures = {}
        for answer in ANSWERS:
            command = [sys.executable, "-m", "benchmarks.memory", "--one", family, answer]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
            figures[answer] = json.loads(done.stdout)
        for answer, figure in figures.items():
            ratio = figure["peak"] / figures["plain"]["peak"]
            values = f"{figure['loaded']:.0f}", f"{figure['peak']:.0f}", f"{ratio:.2f}", f"{figure['seconds']:.1f}"
            sys.stdout.write(row.format(family, answer, *values))


if __name__ == "__main__":
    main()
