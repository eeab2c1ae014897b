"""Decodes a folder of videos and checks the frames: `python -m benchmarks.corpus FOLDER [--plain]`

The folder holds `manifest.json`, a list of {"file", "expected", "true_frames", ...}, and
`reference/<file>.npz` with `thumbs`, the 32x32 grey thumbnails of all frames. Eight equidistant frames
of each file are read. A frame is right if its own thumbnail is the nearest of its file.
With --plain, PyAV, decord and torchcodec alone are checked too, if installed, in a process of their own for each file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hmdb.clips.sampling import evenly_spaced
from hmdb.errors import VideoError
from hmdb.video import Frames, Video, open_video

TOLERANCE = 0.1  # grey levels, by which the thumbnails of repeated frames may differ
TIMEOUT_SECONDS = 20.0  # of a library alone, for a file


@dataclass(frozen=True)
class Outcome:
    """The result for a file: "right", "wrong frames", "refused", "hang" or "died", and the details."""

    kind: str
    text: str
    seconds: float


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    grey = Image.fromarray(pixels).convert("L")
    return np.asarray(grey.resize((32, 32), Image.Resampling.BOX)).astype(np.float32)


def judge(pixels: np.ndarray, indices: list[int], thumbs: np.ndarray | None) -> tuple[str, str]:
    if thumbs is None:
        return "right", "no reference"
    wrong = 0
    for frame, index in zip(pixels, indices, strict=True):
        distances = np.abs(thumbs.astype(np.float32) - thumbnail(frame)).mean((1, 2))
        own = distances[index] if index < len(distances) else np.inf
        wrong += bool(own > distances.min() + TOLERANCE)
    return ("wrong frames", f"{wrong} of {len(indices)} frames wrong") if wrong else ("right", "")


def read_eight(video: Video, num_frames: int) -> tuple[list[int], Frames]:
    indices = evenly_spaced(num_frames, 8)
    return indices, video.frames_at(indices)


def with_hmdb(path: Path, thumbs: np.ndarray | None) -> Outcome:
    start = time.perf_counter()
    try:
        video = open_video(path)
        indices, frames = video.retry_on_recount(lambda num_frames: read_eight(video, num_frames))
    except VideoError as error:
        return Outcome("refused", str(error), time.perf_counter() - start)
    kind, text = judge(frames.pixels, indices, thumbs)
    text = "; ".join(filter(None, [f"{video.num_frames} frames, {video.decoder}", text, video.note]))
    return Outcome(kind, text, time.perf_counter() - start)


def read_eight_with_decord(path: str) -> tuple[int, np.ndarray]:
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    return len(reader), reader.get_batch(evenly_spaced(len(reader), 8)).asnumpy()


def read_eight_with_pyav(path: str) -> tuple[int, np.ndarray]:
    """Decodes from the beginning to the end, without seeking."""
    import av

    with av.open(path) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    return len(frames), np.stack([frames[index] for index in evenly_spaced(len(frames), 8)])


def read_eight_with_torchcodec(path: str) -> tuple[int, np.ndarray]:
    from torchcodec.decoders import VideoDecoder

    reader = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
    return len(reader), reader.get_frames_at(evenly_spaced(len(reader), 8)).data.numpy()


LIBRARIES: dict[str, Callable[[str], tuple[int, np.ndarray]]] = {
    "av": read_eight_with_pyav,
    "decord": read_eight_with_decord,
    "torchcodec": read_eight_with_torchcodec,
}


def _send_outcome(library: str, path: str, thumbs: np.ndarray | None, send: Any) -> None:
    try:
        num_frames, pixels = LIBRARIES[library](path)
        kind, text = judge(pixels, evenly_spaced(num_frames, 8), thumbs)
        if kind == "right" and thumbs is not None and num_frames != len(thumbs):
            text = f"{num_frames} frames, not {len(thumbs)}"
        send.send((kind, text))
    except Exception as error:  # whatever a decoder raises
        send.send(("refused", (str(error).strip() or repr(error)).splitlines()[-1][-60:]))


def in_own_process(library: str, path: Path, thumbs: np.ndarray | None) -> Outcome:
    """Reads a file with a library alone, in a process of its own."""
    start = time.perf_counter()
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_send_outcome, args=(library, str(path), thumbs, send)
    )
    process.start()
    send.close()
    try:
        kind, text = receive.recv() if receive.poll(TIMEOUT_SECONDS) else ("hang", f"over {TIMEOUT_SECONDS:.0f} s")
    except EOFError:
        kind, text = "died", ""
    process.kill()
    process.join()
    return Outcome(kind, text, time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plain", action="store_true", help="also check PyAV, decord and torchcodec alone")
    parser.add_argument("--quiet", action="store_true", help="print only the table")
    arguments = parser.parse_args()
    tables: dict[str, dict[str, Counter[str]]] = {}
    bad = 0
    for entry in json.loads((arguments.folder / "manifest.json").read_text()):
        path = arguments.folder / entry["file"]
        reference = arguments.folder / "reference" / f"{entry['file']}.npz"
        thumbs = np.load(reference)["thumbs"] if reference.exists() else None
        whole = entry["expected"] in ("ok", "reject-or-ok")
        plain = [library for library in LIBRARIES if find_spec(library)] if arguments.plain else []
        checks = {"here": with_hmdb} | {library: partial(in_own_process, library) for library in plain}
        for name, check in checks.items():
            outcome = check(path, thumbs if whole else None)
            tables.setdefault(name, defaultdict(Counter))[entry["expected"]][outcome.kind] += 1
            wanted = {"ok": ("right",), "reject": ("refused",)}.get(entry["expected"], ("right", "refused"))
            failed = name == "here" and outcome.kind not in wanted
            bad += failed
            if not arguments.quiet:
                mark = "!" if failed else " "
                print(
                    f"{mark} {entry['file']:32} {entry['expected']:24} {name:12} {outcome.kind:13} "
                    f"{outcome.seconds:6.2f} s  {outcome.text}",
                    flush=True,
                )
    for name, table in tables.items():
        print(f"\n{name}")
        for expected, counts in sorted(table.items()):
            print(f"  {expected:26}", ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
