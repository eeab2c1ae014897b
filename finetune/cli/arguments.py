"""Options that several jobs share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from finetune.config.data import DataSource
from finetune.config.fields import add_options
from finetune.config.recipe import Recipe
from finetune.config.recipes import RECIPES

REPORTERS = ("tensorboard", "trackio", "wandb", "none")


def add_run(parser: argparse.ArgumentParser, output: Path, recipe: str = "") -> None:
    """What every job that trains one model takes."""
    told = recipe or "chosen for the data: small, or the paper's for its own"
    parser.add_argument("--recipe", default=recipe, metavar="NAME", help=f"{', '.join(RECIPES)}; {told}")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output, if there is one")
    told = "where the loss and val figures of each epoch are logged (tensorboard); none for nowhere"
    parser.add_argument("--report-to", nargs="+", choices=REPORTERS, default=["tensorboard"], help=told)
    add_data(parser, more=True)
    add_output(parser, output)
    add_push(parser)


def add_push(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Hub")
    group.add_argument(
        "--push-to-hub",
        nargs="?",
        const="",
        default=None,
        metavar="OWNER/NAME",
        help="push the result; without a name to one of yours, made from model and data",
    )
    add_publication(group)


def add_publication(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--private", action="store_true", help="only you can see the repository")
    parser.add_argument("--replace", action="store_true", help="put the run in the place of another one there")
    parser.add_argument("--no-frames", action="store_true", help="leave out the figures that show frames of clips")
    parser.add_argument("--logs", action="store_true", help="push TensorBoard's files, too; they show frames")


def add_data(parser: argparse.ArgumentParser, *, more: bool = False) -> None:
    add_options(parser.add_argument_group("data"), DataSource, without=() if more else ("more",))


def add_config(parser: argparse.ArgumentParser) -> None:
    told = "YAML with options of this job, `learning_rate: 1e-5` a line; those typed here come first"
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help=told)


def add_output(parser: argparse.ArgumentParser, default: Path) -> None:
    parser.add_argument("--output", type=Path, default=default, metavar="DIR", help="for the results (%(default)s)")


def add_settings(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    group = parser.add_argument_group("settings", "in place of the recipe's; in brackets the paper's")
    add_options(group, Recipe, without)
