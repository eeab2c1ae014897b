"""The output folder of a run: claimed by one, resumed, complete."""

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
RUN_FILE = "run.json"  # what the run does: written first
REPORT_FILE = "report.json"  # what came of it: written last


def claim(output: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    """Makes the folder the run's own, or finds it so.

    Raises:
        DataError: it holds another run, or something else, or cannot be made.
    """
    known = read_json(output / RUN_FILE)
    if resume and known is not None:
        changed = [name for name in known if known[name] != settings.get(name)]
        if changed:
            told = "; ".join(f"{name} was {known[name]!r}, now {settings.get(name)!r}" for name in changed[:3])
            raise DataError(
                f"{output} holds a run with other settings ({told}). "
                "Resume it with its own, or give a new --output folder."
            )
        return
    if output.exists() and any(output.iterdir()):
        hint = "--resume goes on with it" if known is not None else "it holds no run that could be resumed"
        raise DataError(f"{output} is not empty: {hint}. Give a new --output folder otherwise.")
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / RUN_FILE).write_text(json.dumps(dict(settings), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"The output folder {output} cannot be written: {error.strerror}.") from error


@contextmanager
def released_on_error(output: Path) -> Iterator[None]:
    """Gives the folder of a run that fails before it has a checkpoint free again, for the corrected command."""
    try:
        yield
    except HmdbError:
        if is_first_process() and last_checkpoint(output / CHECKPOINTS) is None:
            for scrap in (CHECKPOINTS, CLIPS, LOGS):
                shutil.rmtree(output / scrap, ignore_errors=True)
            (output / RUN_FILE).unlink(missing_ok=True)
        raise


def last_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint. Halves, left by a kill or a full disk, are removed.

    The Trainer writes its state last, so a checkpoint with a readable one is whole.
    """
    found = sorted(checkpoints.glob(f"{CHECKPOINT_PREFIX}*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if read_json(path / TRAINER_STATE) is not None]
    for path in set(found) - set(whole):
        shutil.rmtree(path, ignore_errors=True)
    if not whole:
        return None
    state = read_json(whole[-1] / TRAINER_STATE) or {}
    best = state.get("best_model_checkpoint")
    if best and Path(best).parent != checkpoints:  # the run has been moved since
        state["best_model_checkpoint"] = str(checkpoints / Path(best).name)
        (whole[-1] / TRAINER_STATE).write_text(json.dumps(state), encoding="utf-8")
    return whole[-1]


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
