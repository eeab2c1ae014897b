"""`python -m finetune evaluate`: evaluates a checkpoint and writes a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune.cli.arguments import EXTRA_DATA, add_data, add_output, add_seed
from finetune.cli.summary import print_summary
from finetune.config.data import DataSource
from finetune.config.fields import given, whole_number
from finetune.config.recipe import SHORT_PRECISIONS
from hmdb.clips.clip import SAMPLERS
from hmdb.machine import is_first_process

HELP = "Evaluate a checkpoint and write a report."
PRECISIONS = ("float32", "bfloat16", "int8")  # of inference; training has float16 and no int8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="MODEL", help="Hub id or folder")
    parser.add_argument("--revision", default=None, help="branch, tag or commit on the Hub")
    parser.add_argument(
        "--eval-split",
        choices=("val", "test", "all"),
        default="test",
        help="the split to evaluate; all: the whole data set (%(default)s)",
    )
    parser.add_argument("--sampler", choices=SAMPLERS, default=None, help="frame sampler; by default the checkpoint's")
    parser.add_argument(
        "--views",
        default="1x1",
        metavar="MxC",
        help="average over M clips a video and C crops a clip; the papers use 1x3 (TimeSformer) and 4x3 (ViViT)",
    )
    parser.add_argument("--batch-size", type=whole_number(1), default=8, help="clips in a batch (%(default)s)")
    add_seed(parser)
    parser.add_argument(
        "--precision",
        "--dtype",
        dest="dtype",
        type=lambda word: SHORT_PRECISIONS.get(word, word),
        choices=PRECISIONS,
        default="float32",
        help="precision of the forward pass (%(default)s)",
    )
    parser.add_argument(
        "--write-to-checkpoint",
        "--keep",
        action="store_true",
        help="write the reliability table into the checkpoint or, with another --precision, the accuracy lost by it",
    )
    add_data(parser, without=EXTRA_DATA)
    add_output(parser, Path("runs/report"))


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        HmdbError: as `finetune.jobs.evaluate.evaluate` raises it.
    """
    from finetune.jobs.evaluate import evaluate

    report = evaluate(
        options.model,
        DataSource(**given(options, DataSource)),
        options.output,
        revision=options.revision,
        split=options.eval_split,
        sampler=options.sampler,
        batch_size=options.batch_size,
        seed=options.seed,
        dtype=options.dtype,
        write_to_checkpoint=options.write_to_checkpoint,
        views=options.views,
    )
    if not is_first_process():
        return
    print_summary(report)
    if compared := report.precision:
        print(
            f"{compared.dtype} compared with float32: top-1 {compared.top1_change:+.1f} points, "
            f"{compared.other.median_ms / compared.float32.median_ms:.2f} of its time"
        )
    print(f"The report is {options.output / 'report.md'}")
