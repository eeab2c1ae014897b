"""The output folder of a run: claimed, resumed, complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hmdb.errors import DataError, HmdbError
from hmdb.machine import is_first_process

TRAINER_STATE = "trainer_state.json"  # as the Trainer calls it, as the next
CHECKPOINT_PREFIX = "checkpoint-"
CHECKPOINTS = "checkpoints"  # of the Trainer: the best epoch and the last
CLIPS = "clips"  # decoded once, shared by all processes
LOGS = "runs"  # TensorBoard's
RUN_FILE = "run.json"  # the settings of the run, written first
REPORT_FILE = "report.json"  # its figures, written last


def claim(output: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    """Creates the folder of a run, or with `resume` checks that it holds the same run.

    Raises:
        DataError: it holds another run or something else, or cannot be created.
    """
    present = read_json(output / RUN_FILE)
    if resume and present is not None:
        changed = [name for name in present if present[name] != settings.get(name)]
        if changed:
            changes = "; ".join(f"{name} was {present[name]!r}, now {settings.get(name)!r}" for name in changed[:3])
            raise DataError(
                f"{output} holds a run with other settings ({changes}). "
                "Resume it with its own, or give a new --output folder."
            )
        return
    if output.exists() and any(output.iterdir()):
        hint = "--resume goes on with it" if present is not None else "it holds no run to resume"
        raise DataError(f"{output} is not empty: {hint}. Give a new --output folder otherwise.")
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / RUN_FILE).write_text(json.dumps(dict(settings), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"The output folder {output} cannot be written: {error.strerror}.") from error


@contextmanager
def released_on_error(output: Path) -> Iterator[None]:
    """Empties the folder of a run that fails before its first checkpoint, for the corrected command."""
    try:
        yield
    except HmdbError:
        if is_first_process() and last_checkpoint(output / CHECKPOINTS) is None:
            for scrap in (CHECKPOINTS, CLIPS, LOGS):
                shutil.rmtree(output / scrap, ignore_errors=True)
            (output / RUN_FILE).unlink(missing_ok=True)
        raise


def last_checkpoint(checkpoints: Path) -> Path | None:
    """Returns the newest complete checkpoint, and removes partial ones, left by a kill or a full disk.

    The Trainer writes its state last, so a checkpoint with a readable one is complete.
    """
    folders = sorted(checkpoints.glob(f"{CHECKPOINT_PREFIX}*"), key=lambda path: int(path.name.rpartition("-")[2]))
    complete = [path for path in folders if read_json(path / TRAINER_STATE) is not None]
    for path in set(folders) - set(complete):
        shutil.rmtree(path, ignore_errors=True)
    if not complete:
        return None
    newest = complete[-1]
    state = read_json(newest / TRAINER_STATE) or {}
    best = state.get("best_model_checkpoint")
    if best and Path(best).parent != checkpoints:  # the run has been moved since
        state["best_model_checkpoint"] = str(checkpoints / Path(best).name)
        (newest / TRAINER_STATE).write_text(json.dumps(state), encoding="utf-8")
    return newest


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads the object in a JSON file; None if there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
