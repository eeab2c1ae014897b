"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from finetune.config.data import DataSource
from finetune.config.fields import add_options, whole_number
from finetune.config.push import Publication
from finetune.config.recipe import Recipe
from finetune.config.recipes import RECIPES

EXTRA_DATA = ("more", "keep_similar")  # options of data for training alone
REPORTERS = ("tensorboard", "trackio", "wandb", "none")


def add_run(parser: argparse.ArgumentParser, output: Path, recipe: str = "") -> None:
    """Adds the options of every command that trains one model."""
    add_recipe(parser, recipe)
    parser.add_argument("--resume", action="store_true", help="continue the run in --output, if there is one")
    parser.add_argument(
        "--report-to",
        nargs="+",
        choices=REPORTERS,
        default=["tensorboard"],
        help="where loss and validation metrics of each epoch are logged (tensorboard); none for nowhere",
    )
    add_data(parser)
    add_output(parser, output)
    add_push(parser)


def add_recipe(parser: argparse.ArgumentParser, default: str = "") -> None:
    usual = default or "by default chosen for the data: paper for the paper's data, else small"
    parser.add_argument("--recipe", default=default, metavar="NAME", help=f"{', '.join(RECIPES)}; {usual}")


def add_push(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Hub")
    group.add_argument(
        "--push-to-hub",
        nargs="?",
        const="",
        default=None,
        metavar="OWNER/NAME",
        help="push the result; without a name, to a repository of yours named after model and data",
    )
    add_options(group, Publication)


def add_data(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    add_options(parser.add_argument_group("data"), DataSource, without)


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=whole_number(0), default=0, help="seed of the splits (%(default)s)")


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        default=None,
        metavar="FILE",
        help="YAML file with options of this command, such as `learning_rate: 1e-5`; the command line overrides it",
    )


def add_output(parser: argparse.ArgumentParser, default: Path) -> None:
    parser.add_argument("--output", type=Path, default=default, metavar="DIR", help="output folder (%(default)s)")


def add_settings(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    group = parser.add_argument_group("settings", "override the recipe; the paper's values in brackets")
    add_options(group, Recipe, without)
