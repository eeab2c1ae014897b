"""`python -m finetune fit-ood`: fits the out-of-distribution detector of a checkpoint."""

from __future__ import annotations

import argparse

from finetune.cli.arguments import add_data, add_seed
from finetune.config.data import DataSource
from finetune.config.fields import given

HELP = "Fit the out-of-distribution detector of a checkpoint."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="DIR", help="the folder of a checkpoint")
    parser.add_argument(
        "--accept-rate",
        "--keep",
        type=float,
        default=None,
        metavar="SHARE",
        help="share of the correct predictions that the detector accepts; by default as after training",
    )
    add_seed(parser)
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        HmdbError: as `finetune.jobs.fit_ood.fit_ood` raises it.
    """
    from finetune.jobs.fit_ood import fit_ood
    from finetune.report.formatting import describe_ood

    source = DataSource(**given(options, DataSource))
    result = fit_ood(options.model, source, accept_rate=options.accept_rate, seed=options.seed)
    print(
        f"Fitted to the features of {result.clips} clips and written next to the weights of {options.model}. "
        f"{describe_ood(result.val)} Accepted of the correct predictions on test: {result.test_accepted:.1%}."
    )
