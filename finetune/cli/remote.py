"""`python -m finetune remote`: trains on a Hugging Face GPU and pushes the result."""

from __future__ import annotations

import argparse
import json

from finetune.cli.arguments import add_data, add_push, add_recipe, add_settings
from finetune.config.data import DataSource
from finetune.config.fields import add_options, given
from finetune.config.push import Publication
from finetune.config.recipe import Recipe
from finetune.config.recipes import recipe_of
from finetune.config.remote import JobHardware
from hmdb.errors import DataError

HELP = "Train on a Hugging Face GPU and push the result."
LOCAL_ONLY = ("resume", "output")  # accepted here to say why they do not apply


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print the job instead of starting it")
    add_options(parser.add_argument_group("job"), JobHardware)
    add_recipe(parser)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", default="", help=argparse.SUPPRESS)
    add_data(parser)
    add_push(parser)
    add_settings(parser)


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        DataError: something that only this machine has, or the Hub refuses the job.
    """
    for name in LOCAL_ONLY:
        if getattr(options, name):
            raise DataError(f"--{name} is for runs on this machine: a job begins anew, and its result is pushed.")
    from finetune import hub
    from finetune.jobs import remote

    changes, source, push = given(options, Recipe), given(options, DataSource), given(options, Publication)
    init = recipe_of(options.recipe or "paper", changes).init
    repository = options.push_to_hub or hub.default_name(init, source.get("location", ""))
    publication = Publication(repository=repository, **push)
    job = remote.compose(
        JobHardware(**given(options, JobHardware)),
        source,
        changes,
        recipe=options.recipe,
        publication={"push_to_hub": repository, **push},
    )
    if options.dry_run:
        print(json.dumps(remote.redacted_command(job), indent=2))
        return
    hub.claim(publication, repository)
    number, address = remote.start(job)
    print(f"Started: {address}\nFollow it with `hf jobs logs {number}`, end it with `hf jobs cancel {number}`.")
