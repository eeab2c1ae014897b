"""A training run on somebody else's GPU: a Hugging Face Job that trains on a data set of the Hub and pushes the result.

The job sees this code as a Space has it, mounted read-only; nothing of this machine goes along but the settings and, as
a secret, the token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.config.data import HUB_PREFIX, DataSource
from finetune.config.fields import check_options, option
from finetune.config.recipe import SCRATCH_PREFIX, recipe_of
from hmdb.errors import DataError
from hmdb.text import first_line

CODE = "/code"  # where the job finds the Space
OUTPUT = "/tmp/run"  # noqa: S108 - of the job's own container, which ends with it
SECRET = "HF_TOKEN"  # noqa: S105 - its name
HIDDEN = "(your token)"
ON_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]*[\w-]", flags=re.ASCII)  # owner/name
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


@dataclass(frozen=True, kw_only=True)
class JobHardware:
    """What the job runs on.

    Attributes:
        code: a Space that holds this repository, "owner/name".
        timeout: a number and its unit.
        namespace: who pays; the token's owner, if not given.
    """

    code: str = option(
        "", "a Space with this repository: `hf upload OWNER/NAME . --repo-type space`", metavar="OWNER/NAME"
    )
    flavor: str = option("a10g-small", "the hardware; `hf jobs hardware` lists them with their prices", metavar="NAME")
    timeout: str = option("8h", "when the job is ended whether or not it is done: 90m, 8h, 2d", metavar="TIME")
    namespace: str = option("", "the organisation that the job belongs to; yourself, if not given", metavar="NAME")
    image: str = option("ghcr.io/astral-sh/uv:python3.12-bookworm", "a container image with uv", metavar="IMAGE")

    def __post_init__(self) -> None:
        check_options(self)
        if not ON_HUB.fullmatch(self.code):
            raise DataError("--code names a Space that holds this repository, OWNER/NAME.")
        if not self.flavor or not self.image:
            raise DataError("--flavor and --image cannot be empty.")
        number, unit = self.timeout[:-1], self.timeout[-1:]
        if unit not in UNITS or not number.isdecimal() or not int(number):
            raise DataError(f"--timeout {self.timeout} is no number with s, m, h or d after it, such as 8h.")


def compose(
    machine: JobHardware,
    source: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    recipe: str = "",
    publication: Mapping[str, Any],
) -> dict[str, Any]:
    """What `huggingface_hub.run_job` is called with, but for the token.

    Args:
        source, settings: of `DataSource` and of `Recipe`, those that were given.
        publication: options of the push, of which "push_to_hub" is the repository.

    Raises:
        DataError: something that only this machine has.
    """
    from huggingface_hub import Volume

    data, whole = DataSource(**source), recipe_of(recipe or "paper", settings)
    init = _init(whole.init)
    if not ON_HUB.fullmatch(data.location.removeprefix(HUB_PREFIX)) or not data.location.startswith(HUB_PREFIX):
        raise DataError(
            f"A job does not see {data.location}: --data must be hub:OWNER/NAME. "
            "`hf upload OWNER/NAME FOLDER --repo-type dataset` puts a folder there."
        )
    if data.more:
        raise DataError(f"A job does not see {data.more}; leave --more out, or train here.")
    if data.is_cross_validation:
        raise DataError("--folds leaves no checkpoint to push; a job is for one run: add --fold.")
    if whole.inflate and not ON_HUB.fullmatch(whole.inflate):
        raise DataError(f"A job does not have {whole.inflate}; name an image model on the Hub for --inflate.")
    given = {"data": data.location} | {name: value for name, value in source.items() if name != "location"}
    words = _words(
        {"recipe": recipe, **given, **settings, **({"init": init} if "init" in settings else {}), **publication}
    )
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
    """The same for people, as JSON has it, with the secret's name and not the secret."""
    volumes = [volume.to_dict() for volume in job["volumes"]]
    return {**job, "volumes": volumes, "secrets": {SECRET: HIDDEN}}


def start(job: Mapping[str, Any]) -> tuple[str, str]:
    """Starts a job.

    Returns:
        Its number and its address.

    Raises:
        DataError: there is no token, or the Hub does not take the job.
    """
    from huggingface_hub import get_token, run_job

    token = get_token()
    if token is None:
        raise DataError("A job needs a token of yours. Set HF_TOKEN, or run `hf auth login`.")
    try:
        info = run_job(**job, secrets={SECRET: token})
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            raise DataError("The Hub does not know this token. Set HF_TOKEN to a valid one.") from error
        if status in (402, 403):
            raise DataError(
                "The Hub does not let this token start jobs: they need credit, and a token that may."
            ) from error
        raise DataError(f"The job could not be started: {first_line(error).replace(token, HIDDEN)}") from error
    return info.id, info.url


def _init(init: str) -> str:
    """Where the job finds the weights to start from."""
    from hmdb.model.loading import BUNDLED

    if init.startswith(SCRATCH_PREFIX):
        return init
    place = Path(init)
    if place.is_dir() and place.resolve() == BUNDLED:
        return f"{CODE}/hmdb/bundled"
    if place.exists() or not ON_HUB.fullmatch(init):
        raise DataError(f"A job does not see {init}: --init must be a model on the Hub or {SCRATCH_PREFIX}NAME.")
    return init


def _words(options: Mapping[str, Any]) -> list[str]:
    """What one would type."""
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag] if value else [f"--no-{flag.removeprefix('--')}"]
        elif value != "":
            words.append(f"{flag}={value}")
    return words
