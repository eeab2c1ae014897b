"""`python -m benchmarks [PART...]`: prints the table and writes it as Markdown and JSON."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path
from pkgutil import resolve_name

import torch
from transformers.utils.logging import disable_progress_bar

from benchmarks import networks, peers
from benchmarks.race import Row, to_json, to_markdown, use_processor_time
from hmdb.machine import tune_malloc

# By name, as not every machine has what each of them needs: a decoder, Gradio, a GPU.
PARTS = {
    "decode": "benchmarks.decode:rows",
    "preprocess": "benchmarks.forward:preprocess_rows",
    "forward": "benchmarks.forward:forward_rows",
    "maps": "benchmarks.forward:maps_rows",
    "answer": "benchmarks.answer:rows",
    "app": "benchmarks.space:rows",
    "live": "benchmarks.live:rows",
    "memory": "benchmarks.memory:rows",
    "training": "benchmarks.training:rows",
}
INSTRUCTIONS = ("avx2", "avx512", "avx_vnni", "amx", "f16c", "fma")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks of each stage.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, if none is named")
    parser.add_argument("--models", nargs="+", choices=networks.ALL, default=networks.ALL, metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=6, help="of each race (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder for the table (%(default)s)")
    parser.add_argument("--processor-time", action="store_true", help="of one torch thread, where other work runs too")
    arguments = parser.parse_args()
    if arguments.processor_time:
        use_processor_time()
        torch.set_num_threads(1)
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    tune_malloc()  # as the page and the commands do; the others gain as much
    clock = "processor time, " if arguments.processor_time else ""
    about = (
        f"{cpu()}, {torch.get_num_threads()} threads, {clock}torch {torch.__version__}; "
        f"not installed: {', '.join(peers.missing_engines()) or 'nothing'}"
    )
    print(about)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts or PARTS:
            found = list(resolve_name(PARTS[part])(Path(folder), arguments.rounds, arguments.models))
            rows += found
            print(to_markdown(found), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "benchmarks.md").write_text(f"{about}\n\n{to_markdown(rows)}", encoding="utf-8")
    (arguments.output / "benchmarks.json").write_text(to_json(rows), encoding="utf-8")
    return 0


def cpu(info: Path = Path("/proc/cpuinfo")) -> str:
    """The name of the CPU and which of the instructions that matter it has."""
    name, flags = platform.processor() or platform.machine(), torch.backends.cpu.get_cpu_capability()
    if info.is_file():
        lines = (line.partition(":") for line in info.read_text(encoding="utf-8").splitlines())
        known = {key.strip(): value.strip() for key, _, value in lines}
        name = known.get("model name", name)
        family = "/".join(known[key] for key in ("cpu family", "model", "stepping") if key in known)
        name = f"{name} ({family})" if family else name
        flags = " ".join(flag for flag in known.get("flags", "").split() if flag.startswith(INSTRUCTIONS)) or flags
    return f"{name}: {flags}"


if __name__ == "__main__":
    sys.exit(main())
