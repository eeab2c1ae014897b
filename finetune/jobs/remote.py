"""Trains on a rented GPU: a Hugging Face Job that trains on a data set of the Hub and pushes the result.

The job gets this code from a Space, mounted read-only. Only the settings and, as a secret, the token leave this
machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.config.data import HUB_PREFIX, DataSource
from finetune.config.fields import flags
from finetune.config.push import Publication
from finetune.config.recipe import SCRATCH_PREFIX, Recipe
from finetune.config.recipes import recipe_of
from finetune.config.remote import ON_HUB, JobHardware
from hmdb.errors import DataError
from hmdb.text import first_line

CODE = "/code"  # mount point of the Space
OUTPUT = "/tmp/run"  # noqa: S108 - of the job's own container, which ends with it
SECRET = "HF_TOKEN"  # noqa: S105 - its name
HIDDEN = "(your token)"


def compose(
    machine: JobHardware,
    source: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    recipe: str = "",
    publication: Mapping[str, Any],
) -> dict[str, Any]:
    """Composes the arguments of `huggingface_hub.run_job`, without the token.

    Args:
        source, settings: given fields of `DataSource` and `Recipe`.
        publication: options of the push; "push_to_hub" is the repository.

    Raises:
        DataError: data or weights are only on this machine.
    """
    from huggingface_hub import Volume

    data, whole = DataSource(**source), recipe_of(recipe or "paper", settings)
    init = _init(whole.init)
    if not ON_HUB.fullmatch(data.location.removeprefix(HUB_PREFIX)) or not data.location.startswith(HUB_PREFIX):
        raise DataError(
            f"A job cannot access {data.location}: --data must be hub:OWNER/NAME. "
            "`hf upload OWNER/NAME FOLDER --repo-type dataset` puts a folder there."
        )
    if data.more:
        raise DataError(f"A job cannot access {data.more}; leave --extra-train-data out, or train here.")
    if data.is_cross_validation:
        raise DataError("--folds leaves no checkpoint to push; choose one fold with --fold.")
    if whole.inflate and not ON_HUB.fullmatch(whole.inflate):
        raise DataError(f"A job cannot access {whole.inflate}; name an image model on the Hub for --inflate.")
    start_from = {"init": init} if "init" in settings else {}
    words = _words({"recipe": recipe, "location": data.location, **source, **settings, **start_from, **publication})
    # PyPI before the index in requirements.txt, whose torch sees no GPU.
    packages = ["--index", "https://pypi.org/simple", "--with-requirements", f"{CODE}/requirements.txt"]
    start = ["uv", "run", "--no-project", *packages, "python", "-m", "finetune"]
    return {
        "image": machine.image,
        "command": [*start, *words, "--output", OUTPUT],
        "env": {"PYTHONPATH": CODE, "PYTHONUNBUFFERED": "1"},
        "flavor": machine.flavor,
        "timeout": machine.timeout,
        "volumes": [Volume(type="space", source=machine.code, mount_path=CODE, read_only=True)],
        "namespace": machine.namespace or None,
    }


def redacted_command(job: Mapping[str, Any]) -> dict[str, Any]:
    """Describes a job for printing, with the name of the secret in place of its value."""
    volumes = [volume.to_dict() for volume in job["volumes"]]
    return {**job, "volumes": volumes, "secrets": {SECRET: HIDDEN}}


def start(job: Mapping[str, Any]) -> tuple[str, str]:
    """Starts a job.

    Returns:
        Its id and URL.

    Raises:
        DataError: there is no token, or the Hub refuses the job.
    """
    from huggingface_hub import get_token, run_job

    token = get_token()
    if token is None:
        raise DataError("A job needs a Hub token. Set HF_TOKEN, or run `hf auth login`.")
    try:
        info = run_job(**job, secrets={SECRET: token})
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            raise DataError("The Hub token is not valid. Set HF_TOKEN to a valid one.") from error
        if status in (402, 403):
            raise DataError(
                "This Hub token may not start jobs: they need credit, and a token with that permission."
            ) from error
        raise DataError(f"The job could not be started: {first_line(error).replace(token, HIDDEN)}") from error
    return info.id, info.url


def _init(init: str) -> str:
    """Translates --init for the job."""
    from hmdb.model.loading import BUNDLED

    if init.startswith(SCRATCH_PREFIX):
        return init
    path = Path(init)
    if path.is_dir() and path.resolve() == BUNDLED:
        return f"{CODE}/hmdb/bundled"
    if path.exists() or not ON_HUB.fullmatch(init):
        raise DataError(f"A job cannot access {init}: --init must be a model on the Hub or {SCRATCH_PREFIX}NAME.")
    return init


def _words(options: Mapping[str, Any]) -> list[str]:
    """The words to type for options by field name."""
    known = flags(Recipe, DataSource, Publication)
    words = []
    for name, value in options.items():
        flag = known.get(name, f"--{name.replace('_', '-')}")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif value != "":
            words.append(f"{flag}={value}")  # a value may begin with a dash
    return words
