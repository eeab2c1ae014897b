"""The command line of finetune: `python -m finetune [JOB] [options]`; without a job it trains.

The options are read before torch is loaded, so that help and wrong words are answered at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.cli.arguments import add_config, add_data, add_output, add_publication, add_push, add_run, add_settings
from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.fields import add_options, given, whole_number
from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.config.recipe import SCRATCH_PREFIX, Recipe
from finetune.config.recipes import DISTILLED, PAPER_ROWS, RECIPES, recipe_for, recipe_of
from finetune.config.remote import JobHardware
from finetune.run_dir import LOGS
from hmdb.clips.clip import SAMPLERS
from hmdb.errors import DataError, HmdbError
from hmdb.machine import is_first_process, num_processes, silence_stdout

if TYPE_CHECKING:
    from finetune.config.push import Publication
    from finetune.report.schema import Report

DEFAULT_DATA = "data/HMDB_simp"
DEFAULT_OUTPUT = Path("runs/timesformer")
PROGRAM = "python -m finetune"
SMALL_STUDENT = "scratch:small"
OF_A_PUSH = ("private", "replace", "no_frames", "logs")
INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C

log = logging.getLogger("finetune")


@dataclass(frozen=True)
class Job:
    """A sub-command.

    Attributes:
        help: a sentence.
        options: adds its options to a parser.
        run: does it, given the options.
    """

    help: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a job.

    Returns:
        The exit status: 0, or 1 after a one-line error, or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "train")
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO if is_first_process() else logging.ERROR)
    try:
        chosen = _parser(words[0], _from_file(words)).parse_args(words)
    except HmdbError as error:
        log.error(error)
        return 1
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") and num_processes() == 1:
        log.warning("accelerate launch --cpu starts one process; torchrun --nproc_per_node N -m finetune starts N.")
    try:
        _quiet_progress_bars()
        JOBS[chosen.job].run(chosen)
        sys.stdout.flush()
    except HmdbError as error:
        log.error(error)
        return 1
    except BrokenPipeError:
        silence_stdout()
        return 1
    except OSError as error:
        log.error("%s: %s", error.filename or "The disk", error.strerror or error)
        return 1
    except KeyboardInterrupt as stop:
        log.error(stop if str(stop) else "Stopped.")
        return INTERRUPTED
    return 0


def _from_file(words: Sequence[str]) -> dict[str, Any]:
    """The settings in the file that --config names; none without one."""
    parser = argparse.ArgumentParser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    add_config(parser)
    chosen, _ = parser.parse_known_args(words)
    if not chosen.config or words[0] not in JOBS:
        return {}
    from finetune.cli.config_file import settings_of

    return settings_of(chosen.config, JOBS[words[0]].options)


def _parser(chosen: str, settings: Mapping[str, Any]) -> argparse.ArgumentParser:
    """The parser of the command line, in which `settings` take the place of the defaults of the chosen job."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Fine-tune video transformers, evaluate and publish them. Without a job: train.",
        epilog="python -m finetune JOB --help has the options of a job.",
    )
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    for name, job in JOBS.items():
        own = jobs.add_parser(name, help=job.help, description=job.help)
        add_config(own)
        job.options(own)
        if name == chosen:
            own.set_defaults(**settings)
            for action in own._actions:
                action.required = action.required and action.dest not in settings
    return parser


def _quiet_progress_bars() -> None:
    if sys.stderr.isatty():
        return
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bars()
    disable_progress_bar()  # type: ignore[no-untyped-call]


def _train_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser, DEFAULT_OUTPUT)
    add_settings(parser)


def _train(chosen: argparse.Namespace) -> None:
    changes = given(chosen, Recipe)
    recipe_of(chosen.recipe or "paper", changes)  # refuses wrong settings before the data are read, as does the next
    wanted = _wanted_push(chosen)
    if not chosen.recipe:
        chosen.recipe = _recipe_for(DataSource(**given(chosen, DataSource)), changes)
    _train_and_push(recipe_of(chosen.recipe, changes), chosen, wanted)


def _recipe_for(source: DataSource, changes: dict[str, Any]) -> str:
    from finetune.data.splits import read_splits

    one = replace(source, fold=1) if source.is_cross_validation else source
    splits = read_splits(one, changes.get("seed", Recipe().seed))
    name = recipe_for(splits.classes, len(splits.train), changes.get("init", ""))
    if name == "small":
        log.info("Recipe: small, for data of your own. --recipe paper trains as the paper did.")
    elif changes.get("init", "").startswith(SCRATCH_PREFIX):
        log.info("Recipe: paper, for a new network. --recipe names another.")
    return name


def _distill_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher",
        required=True,
        metavar="MODEL",
        help="a video classifier, or an image model: Hub id, folder or pypi:NAME",
    )
    parser.add_argument(
        "--student",
        "--init",
        default="",
        metavar="INIT",
        help=f"what it starts from, as in train; the recipe's own, or {SMALL_STUDENT} for the paper's",
    )
    add_options(parser, DistillationConfig)
    add_run(parser, Path("runs/student"), "paper")
    add_settings(parser, without=("init",))


def _distill(chosen: argparse.Namespace) -> None:
    student = chosen.student or (RECIPES[chosen.recipe].init if chosen.recipe in DISTILLED else SMALL_STUDENT)
    recipe = recipe_of(chosen.recipe, given(chosen, Recipe) | {"init": student})
    _train_and_push(recipe, chosen, _wanted_push(chosen), DistillationConfig(**given(chosen, DistillationConfig)))


def _train_and_push(
    recipe: Recipe, chosen: argparse.Namespace, wanted: Publication | None, plan: DistillationConfig | None = None
) -> None:
    source = DataSource(**given(chosen, DataSource))
    if source.is_cross_validation:
        _cross_validate(recipe, source, chosen, plan)
        return
    from finetune import hub
    from finetune.jobs.train import train

    pushed = None
    if wanted and is_first_process():
        from finetune.data.splits import read_splits

        name = hub.default_name(recipe.init, read_splits(source, recipe.seed).data)
        pushed = hub.claim(wanted, name)
    report = train(
        recipe,
        source,
        chosen.output,
        name=chosen.recipe,
        resume=chosen.resume,
        distillation=plan,
        report_to=_reporters(chosen),
    )
    if not is_first_process():
        return
    _tell(report)
    print(f"The checkpoint is in {chosen.output}. Try it: python -m hmdb --model {chosen.output} VIDEO")
    if pushed:
        _push_now(report, chosen.output, pushed)


def _reporters(chosen: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(chosen.report_to) if name != "none")


def _wanted_push(chosen: argparse.Namespace) -> Publication | None:
    """What of the run is to be pushed; None where nothing is."""
    idle = [name for name in OF_A_PUSH if getattr(chosen, name)]
    if chosen.push_to_hub is None and idle:
        raise DataError(f"--{idle[0].replace('_', '-')} is of a push: add --push-to-hub, or leave it out.")
    if chosen.push_to_hub is None:
        return None
    if chosen.logs and "tensorboard" not in chosen.report_to:
        raise DataError("--logs pushes TensorBoard's files, but --report-to leaves tensorboard out.")
    return _publication(chosen, chosen.push_to_hub)


def _publication(chosen: argparse.Namespace, repository: str) -> Publication:
    from finetune.config.push import Publication

    return Publication(
        repository=repository,
        private=chosen.private,
        replace=chosen.replace,
        frames=not chosen.no_frames,
        logs=chosen.logs,
    )


def _push_now(report: Report, output: Path, wanted: Publication) -> None:
    from finetune import hub
    from finetune.report import card
    from finetune.report import page as pages

    card.write(report, output, wanted.repository)
    drawn = {path.stem for path in (output / pages.FIGURES).glob("*.png")}
    pages.write_text(report, output, drawn if wanted.frames else drawn - set(pages.EXAMPLES))
    for line in hub.contents(output, wanted):
        print(line)
    print(f"Pushed: {hub.push(output, wanted)}")


def _cross_validate(
    recipe: Recipe, source: DataSource, chosen: argparse.Namespace, plan: DistillationConfig | None
) -> None:
    if chosen.push_to_hub is not None or plan:
        raise DataError(
            "--folds measures a recipe, a checkpoint a fold: add --fold, or leave out --push-to-hub and distill."
        )
    from finetune.jobs.cross_validate import FOLDS_TEXT, cross_validate

    cross_validate(
        recipe, source, chosen.output, name=chosen.recipe, resume=chosen.resume, report_to=_reporters(chosen)
    )
    if is_first_process():
        print((chosen.output / FOLDS_TEXT).read_text(encoding="utf-8"), end="")


def _tell(report: Report) -> None:
    for name, split in report.evaluated.items():
        top5 = f", top-5 {split.top5:.1%}" if report.tells_top5 else ""
        mean = "" if split.mean_class is None else f", mean of classes {split.mean_class:.1%}"
        print(f"{name}: top-1 {split.top1:.1%}{top5}{mean} of {split.clips} clips")
    for line in report.warnings:
        print(line)


def _tables_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all if none is given: {', '.join(PAPER_ROWS)}")
    add_data(parser)
    add_output(parser, Path("runs/tables"))
    add_settings(parser)


def _tables(chosen: argparse.Namespace) -> None:
    from finetune.jobs.tables import run_tables

    source = DataSource(**given(chosen, DataSource))
    text = run_tables(chosen.names or list(PAPER_ROWS), source, chosen.output, given(chosen, Recipe))
    if is_first_process():
        print(text)


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="MODEL", help="Hub id or folder")
    parser.add_argument("--revision", default=None, help="branch, tag or commit on the Hub")
    for flag in ("--eval-split", "--part"):
        shown = argparse.SUPPRESS if flag == "--part" else "the clips to answer; all: undivided; %(default)s"
        parser.add_argument(flag, dest="eval_split", choices=("val", "test", "all"), default="test", help=shown)
    parser.add_argument(
        "--sampler", choices=SAMPLERS, default=None, help="how clips are taken; else the checkpoint's way"
    )
    parser.add_argument(
        "--views",
        default="1x1",
        metavar="MxC",
        help="average over clips of M moments and C crops each; the papers of TimeSformer have 1x3, of ViViT 4x3",
    )
    parser.add_argument("--batch-size", type=whole_number(1), default=8, help="%(default)s")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the splits, %(default)s")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "int8"), default="float32", help="the precision; %(default)s"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write into the checkpoint how often its answers are right; with another dtype, what that costs",
    )
    add_data(parser)
    add_output(parser, Path("runs/report"))


def _evaluate(chosen: argparse.Namespace) -> None:
    from finetune.jobs.evaluate import evaluate

    report = evaluate(
        chosen.model,
        DataSource(**given(chosen, DataSource)),
        chosen.output,
        revision=chosen.revision,
        split=chosen.eval_split,
        sampler=chosen.sampler,
        batch_size=chosen.batch_size,
        seed=chosen.seed,
        dtype=chosen.dtype,
        keep=chosen.keep,
        several=chosen.views,
    )
    if not is_first_process():
        return
    _tell(report)
    if found := report.precision:
        print(
            f"{found.dtype} beside float32: top-1 {found.top1_change:+.1f} points, "
            f"{found.other.median_ms / found.float32.median_ms:.2f} of its time"
        )
    print(f"The report is {chosen.output / 'report.md'}")


def _push_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="the --output of a run")
    parser.add_argument("--to", default="", metavar="OWNER/NAME", help="made from model and data, if not given")
    add_publication(parser)


def _push(chosen: argparse.Namespace) -> None:
    from finetune import hub

    report, training = hub.finished_run(chosen.model)
    if chosen.logs and not (chosen.model / LOGS).is_dir():
        raise DataError(f"{chosen.model} has no TensorBoard files for --logs to push.")
    name = hub.default_name(training.recipe.init, report.data.name)
    wanted = hub.claim(_publication(chosen, chosen.to), name, report)
    _push_now(report, chosen.model, wanted)


def _remote_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent, and send nothing")
    add_options(parser.add_argument_group("job"), JobHardware)
    parser.add_argument("--recipe", default="", metavar="NAME", help=f"{', '.join(RECIPES)}; chosen for the data")
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", default="", help=argparse.SUPPRESS)
    add_data(parser, more=True)
    add_push(parser)
    add_settings(parser)


def _remote(chosen: argparse.Namespace) -> None:
    for name in ("resume", "output"):
        if getattr(chosen, name):
            raise DataError(f"--{name} is for runs on this machine: a job begins anew, and what it makes is pushed.")
    from finetune import hub
    from finetune.jobs import remote

    changes, source = given(chosen, Recipe), given(chosen, DataSource)
    init = recipe_of(chosen.recipe or "paper", changes).init
    repository = chosen.push_to_hub or hub.default_name(init, source.get("location", ""))
    wanted = _publication(chosen, repository)
    flags = {name: True for name in OF_A_PUSH if getattr(chosen, name)}
    job = remote.compose(
        JobHardware(**given(chosen, JobHardware)),
        source,
        changes,
        recipe=chosen.recipe,
        publication={"push_to_hub": repository, **flags},
    )
    if chosen.dry_run:
        print(json.dumps(remote.redacted_command(job), indent=2))
        return
    hub.claim(wanted, repository)
    number, address = remote.start(job)
    print(f"Started: {address}\nFollow it with `hf jobs logs {number}`, end it with `hf jobs cancel {number}`.")


def _subset_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", nargs="+", default=list(HMDB_SIMP), metavar="NAME", help="the 25 of HMDB_simp")
    parser.add_argument("--clips", type=whole_number(1), default=50, help="of each class, %(default)s")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="%(default)s")
    parser.add_argument("--data", required=True, metavar="DIR", help="HMDB51, as <DIR>/<class>/<clip>")
    add_output(parser, Path(DEFAULT_DATA))


def _subset(chosen: argparse.Namespace) -> None:
    from finetune.jobs.subset import cut_subset

    splits = cut_subset(chosen.data, chosen.output, chosen.classes, chosen.clips, chosen.seed)
    counts = ", ".join(f"{len(samples)} {name}" for name, samples in splits.by_name().items())
    print(f"{len(splits.classes)} classes in {chosen.output}: {counts}")


def _check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the splits, %(default)s")
    parser.add_argument("--sheet", type=Path, default=None, metavar="PNG", help="write a picture with frames of clips")
    add_data(parser)


def _check(chosen: argparse.Namespace) -> None:
    from finetune.jobs.check import check

    found = check(DataSource(**given(chosen, DataSource)), chosen.seed, chosen.sheet)
    for line in found.lines():
        print(line)
    if not found.splits:
        raise DataError("Nothing could be trained on this.")


def _known_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="DIR", help="the folder of a checkpoint")
    parser.add_argument(
        "--keep",
        type=float,
        default=None,
        metavar="SHARE",
        help="of the right answers on val that are to count as known; else as after training",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the splits, %(default)s")
    add_data(parser, more=True)


def _known(chosen: argparse.Namespace) -> None:
    from finetune.jobs.fit_ood import fit_ood

    source = DataSource(**given(chosen, DataSource))
    found = fit_ood(chosen.model, source, keep=chosen.keep, seed=chosen.seed)
    print(
        f"Fitted to the features of {found.clips} clips and written beside the weights of {chosen.model}. "
        f"Known of the right answers: {found.val_kept:.1%} on val, {found.test_kept:.1%} on test."
    )


def _leaks_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the splits, %(default)s")
    add_data(parser)


def _leaks(chosen: argparse.Namespace) -> None:
    from finetune.data.dataset import read_thumbnails
    from finetune.data.leakage import find_leaks, fingerprints
    from finetune.data.splits import read_splits

    splits = read_splits(DataSource(**given(chosen, DataSource)), chosen.seed)
    print(f"{splits.data}: {splits.origin}; {splits.hash}")
    for line in find_leaks(splits, fingerprints(read_thumbnails(splits))).lines():
        print(line)


JOBS = {
    "train": Job("Fine-tune a video transformer, by default as in the paper on its data.", _train_options, _train),
    "distill": Job("Train a small student on the answers of a teacher.", _distill_options, _distill),
    "tables": Job("Run rows of the paper's tables and set our figures beside the paper's.", _tables_options, _tables),
    "check": Job("Open every file of a data set and say what a run would make of it.", _check_options, _check),
    "evaluate": Job("Make the report of any checkpoint.", _evaluate_options, _evaluate),
    "known": Job("Fit what tells strangers from the actions that a checkpoint knows.", _known_options, _known),
    "push": Job("Push a finished run to the Hub, in one commit.", _push_options, _push),
    "subset": Job("Cut HMDB_simp, or another part, out of HMDB51.", _subset_options, _subset),
    "leaks": Job("Say what train, val and test share: source videos, files, frames.", _leaks_options, _leaks),
    "remote": Job("Train on a GPU of Hugging Face's and push the result.", _remote_options, _remote),
}
