"""Ways to do the same work, timed in turn, and the table of what came out.

Everything is interleaved (A B A B), so that the noise of a machine meets all ways alike, and given as the
least and the median. Only the ratios of one race mean something beyond the machine it was run on.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import psutil


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to do a piece of work.

    Attributes:
        part: of the measurements: "decode", "forward", ...
        work: what is done. Rows of the same part and work can be compared; the first is the measure.
        way: how it is done.
        least, median: what it costs, in `unit`.
        unit: "ms", "s", "MB", or "/s" for what there should be much of.
        note: what a reader must know.
    """

    part: str
    work: str
    way: str
    least: float
    median: float
    unit: str = "ms"
    note: str = ""


def race(
    part: str, work: str, ways: Mapping[str, Callable[[], object]], rounds: int, notes: Mapping[str, str] | None = None
) -> list[Row]:
    """Runs each way once to warm it, then all of them in turn, `rounds` times."""
    for run in ways.values():
        run()
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            taken[way].append(milliseconds(run))
    return [row(part, work, way, found, note=(notes or {}).get(way, "")) for way, found in taken.items()]


def milliseconds(run: Callable[[], object]) -> float:
    began = _clock()
    run()
    return (_clock() - began) * 1e3


def use_processor_time() -> None:
    """Counts from now on only the time that processors are at work, for a machine that does other things besides."""
    global _clock
    _clock = processor_seconds


def processor_seconds() -> float:
    """That this process and its children have used so far, on all threads."""
    children = [child.pid for child in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(map(_used_by, children))


def _used_by(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), which Python has not
    except OSError:  # it has ended
        return 0.0


_clock: Callable[[], float] = time.perf_counter


def row(part: str, work: str, way: str, found: Sequence[float], unit: str = "ms", note: str = "") -> Row:
    return Row(part=part, work=work, way=way, least=min(found), median=statistics.median(found), unit=unit, note=note)


def to_json(rows: Iterable[Row]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=1) + "\n"


def to_markdown(rows: Sequence[Row]) -> str:
    """A table, with each row's cost as a multiple of the first of its work."""
    lines = ["| part | work | way | least | median | x | |", "|---|---|---|---:|---:|---:|---|"]
    first: dict[tuple[str, str], Row] = {}
    for each in rows:
        measure = first.setdefault((each.part, each.work), each)
        same = measure is each
        lines.append(
            f"| {each.part if same else ''} | {each.work if same else ''} | {each.way} "
            f"| {each.least:.4g} {each.unit} | {each.median:.4g} {each.unit} "
            f"| {each.least / measure.least:.2f} | {each.note} |"
        )
    return "\n".join(lines) + "\n"
