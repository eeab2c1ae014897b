"""The command line of finetune: `python -m finetune [COMMAND] [options]`; `train` is the default command.

A command is a module with three things: `HELP`, a line; `add_arguments(parser)`; and `run(options)`. Heavy libraries
are imported in `run`, so that --help and wrong options are answered at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.cli import check, distill, evaluate, fit_ood, leakage, push, remote, subset, tables, train
from finetune.cli.arguments import add_config
from hmdb.errors import HmdbError
from hmdb.machine import is_first_process, num_processes, silence_stdout

COMMANDS = {
    "train": train,
    "distill": distill,
    "tables": tables,
    "check": check,
    "evaluate": evaluate,
    "fit-ood": fit_ood,
    "push": push,
    "subset": subset,
    "leakage": leakage,
    "remote": remote,
}
DEFAULT_COMMAND = "train"
OLD_NAMES = {"known": "fit-ood", "leaks": "leakage"}
PROGRAM = "python -m finetune"
INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C

log = logging.getLogger("finetune")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit status: 0, or 1 after a one-line error, or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, DEFAULT_COMMAND)
    words[0] = OLD_NAMES.get(words[0], words[0])
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO if is_first_process() else logging.ERROR)
    try:
        options = _parser(words[0], _config_file(words)).parse_args(words)
        _warn_of_one_process()
        _quiet_progress_bars()
        COMMANDS[options.command].run(options)
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


def _config_file(words: Sequence[str]) -> dict[str, Any]:
    """The settings in the file that --config names; empty without one."""
    parser = argparse.ArgumentParser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    add_config(parser)
    options, _ = parser.parse_known_args(words)
    if not options.config or words[0] not in COMMANDS:
        return {}
    from finetune.cli.config_file import read_config

    return read_config(options.config, COMMANDS[words[0]].add_arguments)


def _parser(chosen: str, settings: Mapping[str, Any]) -> argparse.ArgumentParser:
    """The parser of the command line; `settings` replace the defaults of the chosen command."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=f"Fine-tune video transformers, evaluate and publish them. Without a command: {DEFAULT_COMMAND}.",
        epilog=f"{PROGRAM} COMMAND --help lists the options of a command.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.HELP, description=command.HELP)
        add_config(subparser)
        command.add_arguments(subparser)
        if name == chosen:
            subparser.set_defaults(**settings)
            for action in subparser._actions:
                action.required = action.required and action.dest not in settings
    return parser


def _warn_of_one_process() -> None:
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") and num_processes() == 1:
        log.warning("accelerate launch --cpu starts one process; torchrun --nproc_per_node N -m finetune starts N.")


def _quiet_progress_bars() -> None:
    if sys.stderr.isatty():
        return
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bars()
    disable_progress_bar()  # type: ignore[no-untyped-call]
