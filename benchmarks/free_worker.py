"""The decoding process without its sandbox, to measure the cost of the sandbox. It has no other use."""

from __future__ import annotations

from hmdb.video.protocol import Confinement
from hmdb.video.worker import __main__ as worker


def confine_nothing(*, memory_mb: int) -> Confinement:
    return Confinement(memory_mb=memory_mb)


if __name__ == "__main__":
    worker.confine = confine_nothing  # type: ignore[attr-defined]
    worker.main()
