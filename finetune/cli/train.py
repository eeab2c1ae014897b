"""`python -m finetune [train]`: trains a model, or one model a fold, and pushes it if asked."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.cli.arguments import add_run, add_settings
from finetune.cli.push import push_run, requested_push
from finetune.cli.summary import print_summary
from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.fields import given
from finetune.config.recipe import SCRATCH_PREFIX, Recipe
from finetune.config.recipes import recipe_for, recipe_of
from hmdb.errors import DataError
from hmdb.machine import is_first_process

if TYPE_CHECKING:
    from finetune.config.push import Publication
    from finetune.data.sample import ClipIndex
    from finetune.report.schema import Report

HELP = "Fine-tune a video transformer, by default with the recipe that suits the data."
DEFAULT_OUTPUT = Path("runs/timesformer")

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser, DEFAULT_OUTPUT)
    add_settings(parser)


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        HmdbError: settings, data or output folder do not fit, or the push fails.
    """
    changes = given(options, Recipe)
    recipe_of(options.recipe or "paper", changes)  # refuses wrong settings before the data are read, as does the next
    publication = requested_push(options)
    source = DataSource(**given(options, DataSource))
    from finetune.data.layouts import index_dataset

    index = index_dataset(source.location, source.group_by)
    if not options.recipe:
        options.recipe = _recipe_for(index, source, changes)
    train_and_push(recipe_of(options.recipe, changes), options, source, index, publication)


def train_and_push(
    recipe: Recipe,
    options: argparse.Namespace,
    source: DataSource,
    index: ClipIndex,
    publication: Publication | None,
    distillation: DistillationConfig | None = None,
) -> None:
    """Trains a model and pushes it, or one model a fold where `source` is a cross-validation.

    Raises:
        HmdbError: as `finetune.jobs.train.train` and `finetune.hub` raise it.
    """
    report_to = _loggers(options.report_to)
    if source.is_cross_validation:
        if publication or distillation:
            raise DataError("--folds trains several models; choose one with --fold to push or distil.")
        from finetune.jobs.cross_validate import cross_validate

        text = cross_validate(
            recipe, source, options.output, name=options.recipe, resume=options.resume, report_to=report_to, index=index
        )
        if is_first_process():
            print(text, end="")
        return
    from finetune import hub

    if distillation:
        from finetune.jobs.distill import distill

        job: Callable[..., Report] = partial(distill, distillation)
    else:
        from finetune.jobs.train import train

        job = train
    claimed = None
    if publication and is_first_process():
        claimed = hub.claim(publication, hub.default_name(recipe.init, index.name))
    report = job(
        recipe, source, options.output, name=options.recipe, resume=options.resume, report_to=report_to, index=index
    )
    if not is_first_process():
        return
    print_summary(report)
    print(f"The checkpoint is in {options.output}. Try it: python -m hmdb --model {options.output} VIDEO")
    if claimed:
        push_run(report, options.output, claimed)


def _loggers(names: Sequence[str]) -> tuple[str, ...]:
    if "none" in names and set(names) != {"none"}:
        raise DataError("--report-to none goes with no other name.")
    return tuple(name for name in dict.fromkeys(names) if name != "none")


def _recipe_for(index: ClipIndex, source: DataSource, changes: dict[str, Any]) -> str:
    from finetune.data.splits import split_dataset

    one = replace(source, fold=1) if source.is_cross_validation else source
    splits = split_dataset(index, one, changes.get("seed", Recipe().seed))
    init = changes.get("init", "")
    name = recipe_for(splits.classes, len(splits.train), init)
    if name == "small":
        log.info("Recipe: small, for data of your own. --recipe paper trains as the paper did.")
    elif init.startswith(SCRATCH_PREFIX):
        log.info("Recipe: paper, for a new network. --recipe names another.")
    return name
