"""The command line of finetune: `python -m finetune [JOB] [options]`; without a job it trains."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.utils.tqdm import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from finetune.data.labels import HMDB_SIMP
from finetune.data.splits import DIVISIONS, DataSource
from finetune.recipe import CHOICES, DISTILLED, PAPER_ROWS, RECIPES, Recipe, recipe_of
from hmdb.errors import HmdbError
from hmdb.machine import is_first_process

DEFAULT_DATA = "data/HMDB_simp"
DEFAULT_OUTPUT = Path("runs/timesformer")
SMALL_STUDENT = "scratch:small"
INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C

log = logging.getLogger("finetune")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a job.

    Returns:
        The exit status: 0, or 1 after a one-line error, or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    job = words.pop(0) if words and not words[0].startswith("-") else "train"
    if job not in JOBS:
        print(f"There is no job {job}; known are {', '.join(JOBS)}.", file=sys.stderr)
        return 1
    first = is_first_process()
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO if first else logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()
        disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        JOBS[job](words)
    except HmdbError as error:
        log.error(error)
        return 1
    except OSError as error:
        log.error("%s: %s", error.filename or "The disk", error.strerror or error)
        return 1
    except KeyboardInterrupt as stop:
        log.error(stop if str(stop) else "Stopped.")
        return INTERRUPTED
    return 0


def _train(words: Sequence[str]) -> None:
    parser = _parser("train", "Fine-tune a video transformer. The defaults are the paper's.")
    parser.add_argument("--recipe", default="paper", metavar="NAME", help=f"{', '.join(RECIPES)}; %(default)s")
    parser.add_argument(
        "--resume", action="store_true", default=False, help="go on with the run in --output, if there is one"
    )
    _add_data(parser, more=True)
    _add_output(parser, DEFAULT_OUTPUT)
    _add_push(parser)
    _add_recipe(parser)
    chosen = parser.parse_args(words)
    recipe = recipe_of(chosen.recipe, _changes(chosen))
    _train_and_push(recipe, chosen)


def _distill(words: Sequence[str]) -> None:
    parser = _parser("distill", "Train a small student on the answers of a teacher.")
    parser.add_argument(
        "--teacher",
        required=True,
        metavar="MODEL",
        help="a video classifier, or an image model: Hub id, folder or pypi:NAME",
    )
    parser.add_argument(
        "--student", default="", metavar="INIT", help=f"as --init; the recipe's own, or {SMALL_STUDENT} for the paper's"
    )
    parser.add_argument("--temperature", type=float, default=2.0, help="of both answers, %(default)s")
    parser.add_argument("--weight", type=float, default=0.7, help="of the teacher in the loss, 0 to 1, %(default)s")
    parser.add_argument("--features", type=float, default=1.0, help="weight of an image model's features, %(default)s")
    parser.add_argument("--unlabelled", default=None, metavar="DIR", help="more videos, that nobody has labelled")
    parser.add_argument("--recipe", default="paper", metavar="NAME", help=f"{', '.join(RECIPES)}; %(default)s")
    parser.add_argument(
        "--resume", action="store_true", default=False, help="go on with the run in --output, if there is one"
    )
    _add_data(parser, more=True)
    _add_output(parser, Path("runs/student"))
    _add_push(parser)
    _add_recipe(parser, without=("init",))
    chosen = parser.parse_args(words)
    student = chosen.student or (RECIPES[chosen.recipe].init if chosen.recipe in DISTILLED else SMALL_STUDENT)
    recipe = recipe_of(chosen.recipe, _changes(chosen) | {"init": student})

    from finetune.distillation.plan import Distillation

    plan = Distillation(
        teacher=chosen.teacher,
        temperature=chosen.temperature,
        weight=chosen.weight,
        features=chosen.features,
        unlabelled=chosen.unlabelled,
    )
    _train_and_push(recipe, chosen, plan)


def _train_and_push(recipe: Recipe, chosen: argparse.Namespace, plan: Any = None) -> None:
    data = _data(chosen)
    from finetune.jobs.train import train
    from finetune.publish import card, hub

    wanted = chosen.push_to_hub
    repository = None
    if wanted is not None and is_first_process():
        repository = hub.claim(wanted or hub.default_name(recipe, data), private=chosen.private)
    report = train(recipe, data, chosen.output, name=chosen.recipe, resume=chosen.resume, distillation=plan)
    if not is_first_process():
        return
    card.write(report, chosen.output, repository)
    for split in ("val", "test"):
        figures = report[split]
        print(f"{split}: top-1 {figures['top1']:.1%}, top-5 {figures['top5']:.1%} of {figures['clips']} clips")
    print(f"The checkpoint is in {chosen.output}. Try it: python -m hmdb --model {chosen.output} VIDEO")
    if repository:
        print(f"Pushed: {hub.push(chosen.output, repository)}")


def _tables(words: Sequence[str]) -> None:
    parser = _parser("tables", "Run rows of the paper's tables and set our figures beside the paper's.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all if none is given: {', '.join(PAPER_ROWS)}")
    _add_data(parser)
    _add_output(parser, Path("runs/tables"))
    _add_recipe(parser)
    chosen = parser.parse_args(words)

    from finetune.jobs.tables import run_tables

    data = _data(chosen)
    text = run_tables(chosen.names or list(PAPER_ROWS), data, chosen.output, _changes(chosen))
    if is_first_process():
        print(text)


def _evaluate(words: Sequence[str]) -> None:
    parser = _parser("evaluate", "Make the report of any checkpoint.")
    parser.add_argument("--model", required=True, metavar="MODEL", help="Hub id or folder")
    parser.add_argument("--revision", default=None, help="branch, tag or commit on the Hub")
    parser.add_argument("--part", choices=("val", "test"), default="test", help="%(default)s")
    parser.add_argument(
        "--sampler", choices=CHOICES["sampler"], default=None, help="how clips are taken; else the checkpoint's way"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the split, %(default)s")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "int8"), default="float32", help="the arithmetic; %(default)s"
    )
    parser.add_argument(
        "--keep", action="store_true", default=False, help="write what int8 costs into the checkpoint, for the page"
    )
    _add_data(parser)
    _add_output(parser, Path("runs/report"))
    chosen = parser.parse_args(words)

    from finetune.jobs.evaluate import evaluate

    report = evaluate(
        chosen.model,
        _data(chosen),
        chosen.output,
        revision=chosen.revision,
        part=chosen.part,
        sampler=chosen.sampler,
        batch_size=chosen.batch_size,
        seed=chosen.seed,
        dtype=chosen.dtype,
        keep=chosen.keep,
    )
    if is_first_process():
        figures = report[chosen.part]
        print(f"{chosen.part}: top-1 {figures['top1']:.1%}, top-5 {figures['top5']:.1%} of {figures['clips']} clips")
        if found := report["arithmetic"]:
            print(
                f"{found['dtype']} beside float32: top-1 {found['top1_change']:+.1f} points, "
                f"{found[found['dtype']]['median_ms'] / found['float32']['median_ms']:.2f} of its time"
            )
        print(f"The report is {chosen.output / 'report.md'}")


def _push(words: Sequence[str]) -> None:
    parser = _parser("push", "Push a finished run to the Hub, in one commit.")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="the --output of a run")
    parser.add_argument("--to", default="", metavar="OWNER/NAME", help="made from model and classes, if not given")
    parser.add_argument("--private", action="store_true", default=False, help="only you can see the repository")
    chosen = parser.parse_args(words)

    from finetune.publish import card, hub

    report = hub.read_report(chosen.model)
    repository = hub.claim(chosen.to or hub.name_of(report), private=chosen.private)
    card.write(report, chosen.model, repository)
    print(f"Pushed: {hub.push(chosen.model, repository)}")


def _subset(words: Sequence[str]) -> None:
    parser = _parser("subset", "Cut HMDB_simp, or another part, out of HMDB51.")
    parser.add_argument("--classes", nargs="+", default=list(HMDB_SIMP), metavar="NAME", help="the 25 of HMDB_simp")
    parser.add_argument("--clips", type=int, default=50, help="of each class, %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    parser.add_argument("--data", required=True, metavar="DIR", help="HMDB51, as <DIR>/<class>/<clip>")
    _add_output(parser, Path(DEFAULT_DATA))
    chosen = parser.parse_args(words)

    from finetune.jobs.subset import cut_subset

    splits = cut_subset(chosen.data, chosen.output, chosen.classes, chosen.clips, chosen.seed)
    counts = ", ".join(f"{len(part)} {name}" for name, part in splits.parts().items())
    print(f"{len(splits.classes)} classes in {chosen.output}: {counts}")


def _leaks(words: Sequence[str]) -> None:
    parser = _parser("leaks", "Say what the parts of a split share: source videos, files, frames.")
    parser.add_argument("--seed", type=int, default=0, help="of the split, %(default)s")
    _add_data(parser)
    chosen = parser.parse_args(words)

    from finetune.data.dataset import read_thumbnails
    from finetune.data.leaks import clip_hashes, find_leaks
    from finetune.data.splits import read_splits

    splits = read_splits(_data(chosen), chosen.seed)
    print(f"{splits.data}: {splits.origin}; {splits.hash}")
    for line in find_leaks(splits, clip_hashes(read_thumbnails(splits))).lines():
        print(line)


def _parser(job: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m finetune {job}", description=description, argument_default=argparse.SUPPRESS
    )


def _add_data(parser: argparse.ArgumentParser, *, more: bool = False) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        default=DEFAULT_DATA,
        metavar="WHERE",
        help="a folder <class>/<clip>, a csv of path and label, or hub:<dataset id>; %(default)s",
    )
    group.add_argument("--split", default="auto", metavar="NAME", help=f"{', '.join(DIVISIONS)}; %(default)s")
    if more:
        group.add_argument(
            "--more", default="", metavar="DIR", help="further clips <class>/<video>, for training alone"
        )
    group.add_argument(
        "--allow-broken", action="store_true", default=False, help="go on where over 2 %% of the clips cannot be read"
    )


def _data(chosen: argparse.Namespace) -> DataSource:
    return DataSource(chosen.data, chosen.split, chosen.allow_broken, getattr(chosen, "more", ""))


def _add_output(parser: argparse.ArgumentParser, default: Path) -> None:
    parser.add_argument("--output", type=Path, default=default, metavar="DIR", help="%(default)s")


def _add_push(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Hub")
    group.add_argument(
        "--push-to-hub",
        nargs="?",
        const="",
        default=None,
        metavar="OWNER/NAME",
        help="push the result; without a name to one of yours, made from model and classes",
    )
    group.add_argument("--private", action="store_true", default=False, help="only you can see the repository")


def _add_recipe(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    """An option for every setting of a recipe."""
    group = parser.add_argument_group("settings", "in place of the recipe's; in brackets the paper's")
    meanings = dict(re.findall(r"^ {8}(\w+): (.+)\.$", (Recipe.__doc__ or "").replace("%", "%%"), flags=re.MULTILINE))
    for field in fields(Recipe):
        if field.name in without:
            continue
        flag, shown = f"--{field.name.replace('_', '-')}", f"{meanings.get(field.name, '')} ({field.default})"
        if isinstance(field.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=shown)
        else:
            group.add_argument(flag, type=type(field.default), choices=CHOICES.get(field.name), help=shown)


def _changes(chosen: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given."""
    return {field.name: getattr(chosen, field.name) for field in fields(Recipe) if hasattr(chosen, field.name)}


JOBS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": _train,
    "distill": _distill,
    "tables": _tables,
    "evaluate": _evaluate,
    "push": _push,
    "subset": _subset,
    "leaks": _leaks,
}
