"""`python -m finetune push`: pushes a finished run to the Hub; train and distill push through it too."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.config.fields import add_options, flags, given
from finetune.config.push import Publication
from finetune.run_dir import LOGS
from hmdb.errors import DataError

if TYPE_CHECKING:
    from finetune.report.schema import Report

HELP = "Push a finished run to the Hub, in one commit."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="the --output of a run")
    parser.add_argument("--to", default="", metavar="OWNER/NAME", help="by default named after model and data")
    add_options(parser, Publication)


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        HmdbError: the run is not finished, or the Hub refuses the push.
    """
    from finetune import hub

    report, training = hub.finished_run(options.model)
    publication = Publication(repository=options.to, **given(options, Publication))
    if publication.logs and not (options.model / LOGS).is_dir():
        raise DataError(f"{options.model} has no TensorBoard files for --logs to push.")
    name = hub.default_name(training.recipe.init, report.data.name)
    push_run(report, options.model, hub.claim(publication, name, report))


def requested_push(options: argparse.Namespace) -> Publication | None:
    """The push that the options of a training command ask for; None without --push-to-hub.

    Raises:
        DataError: an option of a push without --push-to-hub, or --logs without TensorBoard.
    """
    settings = given(options, Publication)
    if options.push_to_hub is None:
        for name in filter(settings.get, settings):
            raise DataError(f"{flags(Publication)[name]} needs --push-to-hub.")
        return None
    publication = Publication(repository=options.push_to_hub, **settings)
    if publication.logs and "tensorboard" not in options.report_to:
        raise DataError("--logs pushes TensorBoard's files, but --report-to leaves tensorboard out.")
    return publication


def push_run(report: Report, output: Path, publication: Publication) -> None:
    """Writes the card for the repository, lists the files, and uploads them.

    Raises:
        DataError: the push broke.
    """
    from finetune import hub
    from finetune.report import card
    from finetune.report import page as pages

    card.write(report, output, publication.repository)
    drawn = {path.stem for path in (output / pages.FIGURES).glob("*.png")}
    pages.write_text(report, output, drawn - set(pages.EXAMPLES) if publication.no_frames else drawn)
    for line in hub.contents(output, publication):
        print(line)
    print(f"Pushed: {hub.push(output, publication)}")
