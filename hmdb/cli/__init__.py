"""The command line of hmdb: `python -m hmdb VIDEO...`, and further commands by name.

A command is a module with a line `HELP`, `add_arguments(parser)` and `run(options, parser)`, which returns the exit
status. Heavy libraries are imported in `run`, so that --help is fast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hmdb.cli import annotate, batch, classify, export, teach
from hmdb.errors import HmdbError
from hmdb.machine import silence_stdout
from hmdb.version import __version__

COMMANDS = {"classify": classify, "batch": batch, "annotate": annotate, "export": export, "teach": teach}
DEFAULT_COMMAND = "classify"  # the command that runs if none is named


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command named by the first argument, or `classify`.

    Returns:
        The exit status: 0 on success, 1 on an error, 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in (*COMMANDS, "-h", "--help", "--version"):
        given.insert(0, DEFAULT_COMMAND)
    parser, options = _parse(given)
    try:
        status = int(COMMANDS[options.command].run(options, parser))
        sys.stdout.flush()
        return status
    except HmdbError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        silence_stdout()
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _parse(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Returns the parser of the command, for errors found later, and the parsed options."""
    prog = "python -m hmdb"
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Recognizes human actions in videos.",
        epilog=f"{prog} VIDEO... is short for {prog} {DEFAULT_COMMAND} VIDEO...; see {prog} COMMAND --help.",
    )
    parser.add_argument("--version", action="version", version=f"hmdb {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {}
    for name, command in COMMANDS.items():
        own = prog if name == DEFAULT_COMMAND else f"{prog} {name}"
        parsers[name] = commands.add_parser(name, prog=own, help=command.HELP, description=command.HELP)
        command.add_arguments(parsers[name])
    options = parser.parse_args(arguments)
    return parsers[options.command], options
