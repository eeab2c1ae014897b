"""Settings of a job on a GPU of Hugging Face's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from finetune.config.fields import check_options, option
from hmdb.errors import DataError

ON_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]*[\w-]", flags=re.ASCII)  # owner/name
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


@dataclass(frozen=True, kw_only=True)
class JobHardware:
    """The hardware and the environment of a job.

    Attributes:
        code: a Space that holds this repository, "owner/name".
        timeout: a number and its unit.
        namespace: the account that pays; the token's owner if empty.
    """

    code: str = option(
        "", "a Space with this repository: `hf upload OWNER/NAME . --repo-type space`", metavar="OWNER/NAME"
    )
    flavor: str = option("a10g-small", "the hardware; `hf jobs hardware` lists them with their prices", metavar="NAME")
    timeout: str = option("8h", "time limit of the job: 90m, 8h, 2d", metavar="TIME")
    namespace: str = option("", "the organisation that pays; by default you", metavar="NAME")
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
