"""Reads mangled videos and counts the outcomes: `python -m benchmarks.fuzz_decode [--files 2000]`

Seeds are small mp4 (whole and in fragments), mov, avi and webm files. In each, bytes are flipped, the
header is mangled, or pieces are cut out, doubled or zeroed. Every file must be read or refused in one
line, within the time limit, and this process must survive.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.clips import write_clip
from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import VideoError
from hmdb.video.limits import Limits
from hmdb.video.worker_pool import default_pool

SEEDS: tuple[tuple[str, str, dict[str, str], dict[str, str]], ...] = (
    ("plain.mp4", "libx264", {"preset": "veryfast", "g": "50"}, {}),
    ("front.mp4", "libx264", {"preset": "veryfast"}, {"movflags": "faststart"}),
    ("fragments.mp4", "libx264", {"preset": "veryfast", "g": "25"}, {"movflags": "frag_keyframe+empty_moov"}),
    ("hevc.mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}, {"movflags": "faststart"}),
    ("phone.mov", "libx264", {"preset": "veryfast", "bf": "2"}, {"movflags": "faststart"}),
    ("jpegs.mov", "mjpeg", {}, {}),
    ("xvid.avi", "mpeg4", {"g": "12"}, {}),
    ("b-frames.avi", "mpeg4", {"g": "12", "bf": "2"}, {}),
    ("vp8.webm", "libvpx", {"deadline": "realtime", "cpu-used": "8"}, {}),
    ("live.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, {"live": "1"}),
)
NUM_FRAMES, SIZE = 60, (96, 72)
HEADER = 1024  # bytes


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 4, 16, 64, 256))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def mangle_header(data: bytearray, rng: random.Random) -> None:
    """Replaces bytes of the first or last kilobyte, where an mp4 may have its index."""
    start = rng.choice((0, max(0, len(data) - HEADER)))
    for _ in range(rng.choice((1, 2, 8, 32))):
        data[start + rng.randrange(min(HEADER, len(data)))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))


def cut_piece(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, len(data) // 2))
    match rng.randrange(4):
        case 0:
            del data[start:]
        case 1:
            del data[start:end]
        case 2:
            data[start:start] = data[start:end]
        case _:
            data[start:end] = bytes(end - start)


MANGLERS: dict[str, Callable[[bytearray, random.Random], None]] = {
    "flipped": flip_bits,
    "header": mangle_header,
    "cut": cut_piece,
}


def classify_outcome(path: Path) -> str:
    try:
        clip = read_clip(path, ClipSpec(sampler="equidistant"))
    except VideoError as error:
        text = str(error)
        if "\n" in text or str(path.parent) in text:
            return "REFUSED BADLY"
        if "takes longer" in text:
            return "refused: too slow"
        return "refused: the worker died" if "cannot be decoded" in text else "refused"
    return "read, reported as damaged" if clip.notes else "read"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_decode", description="Reads mangled videos.")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: dict[str, Counter[str]] = {name: Counter() for name in MANGLERS}
    pids: set[int] = set()
    slowest, slowest_name = 0.0, ""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [
            write_clip(Path(folder) / name, codec, options, container_options, num_frames=NUM_FRAMES, size=SIZE)
            for name, codec, options, container_options in SEEDS
        ]
        for number in range(arguments.files):
            rng = random.Random(f"{arguments.seed}-{number}")
            seed, mangler = seeds[number % len(seeds)], rng.choice(list(MANGLERS))
            data = bytearray(seed.read_bytes())
            MANGLERS[mangler](data, rng)
            path = Path(folder) / f"{number}{seed.suffix}"
            path.write_bytes(data)
            start = time.perf_counter()
            counts[mangler][classify_outcome(path)] += 1
            seconds = time.perf_counter() - start
            if seconds > slowest:
                slowest, slowest_name = seconds, f"{number}, {seed.name}, {mangler}"
            pids.update(worker.pid for worker in default_pool().workers())
            path.unlink()
    for mangler, outcomes in counts.items():
        print(f"{mangler:8}", ", ".join(f"{count} {kind}" for kind, count in sorted(outcomes.items())))
    total = sum(counts.values(), Counter())
    print(f"{'all':8}", ", ".join(f"{count} {kind}" for kind, count in sorted(total.items())))
    limits = Limits.from_environment()
    print(f"slowest {slowest:.1f} s ({slowest_name}); the limit is {limits.seconds:g} s for each of two requests")
    print(f"{len(pids)} workers were seen; {arguments.files * 2 // limits.requests} would do without crashes")


if __name__ == "__main__":
    main()
