"""`python -m finetune distill`: trains a student on the outputs of a teacher."""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune.cli.arguments import add_run, add_settings
from finetune.cli.push import requested_push
from finetune.cli.train import train_and_push
from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.fields import add_options, given
from finetune.config.recipe import Recipe
from finetune.config.recipes import DISTILLED, RECIPES, recipe_of

HELP = "Train a small student on the outputs of a teacher."
SMALL_STUDENT = "scratch:small"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, DistillationConfig)
    parser.add_argument(
        "--student",
        "--init",
        default="",
        metavar="INIT",
        help=f"initial weights of the student, as --init of train; by default the recipe's, or {SMALL_STUDENT} for the "
        "paper's recipes",
    )
    add_run(parser, Path("runs/student"), "paper")
    add_settings(parser, without=("init",))


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        HmdbError: settings, data, teacher or output folder do not fit, or the push fails.
    """
    student = options.student or (RECIPES[options.recipe].init if options.recipe in DISTILLED else SMALL_STUDENT)
    recipe = recipe_of(options.recipe, given(options, Recipe) | {"init": student})
    publication = requested_push(options)
    source = DataSource(**given(options, DataSource))
    distillation = DistillationConfig(**given(options, DistillationConfig))
    from finetune.data.layouts import index_dataset

    index = index_dataset(source.location, source.group_by)
    train_and_push(recipe, options, source, index, publication, distillation)
