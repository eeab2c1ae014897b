"""What the worker costs over decord in this process: `python -m benchmarks.decode [--rounds 40]`

Eight equidistant frames of a 10 s clip of 320x240 are read both ways, in turn, so that the noise of the
machine meets both. Each round opens the file anew.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np

from hmdb.sampling import spread
from hmdb.video import open_video

NUM_FRAMES, FPS, SIZE = 300, 30, (320, 240)


def write_clip(
    path: Path,
    codec: str,
    options: dict[str, str],
    container_options: dict[str, str] | None = None,
    *,
    num_frames: int = NUM_FRAMES,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Blobs that wander over noise: compresses about as a real video does."""
    width, height = size
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        assert isinstance(stream, av.VideoStream)  # noqa: S101 - for mypy
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(num_frames):
            picture = np.roll(ground, index, axis=1)
            for blob in range(5):
                x, y = (index * (blob + 1)) % (width - 40), (blob * 45 + index // 2) % (height - 40)
                picture[y : y + 40, x : x + 40] = (50 * blob, 255 - 40 * blob, 128)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def with_worker(path: Path) -> np.ndarray:
    video = open_video(path)
    return video.frames_at(spread(video.num_frames, 8)).pixels


def at_random(path: Path) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    pixels: np.ndarray = reader.get_batch(spread(len(reader), 8)).asnumpy()
    return pixels


def in_sequence(path: Path) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    wanted = spread(len(reader), 8)
    frames = (reader.next() for _ in range(wanted[-1] + 1))
    return np.stack([frame.asnumpy() for index, frame in enumerate(frames) if index in wanted])


def compare(name: str, path: Path, plain: Callable[[Path], np.ndarray], rounds: int) -> None:
    ways = {"in this process": plain, "with the worker": with_worker}
    same = np.array_equal(with_worker(path), plain(path))  # and warms both
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, read in ways.items():
            start = time.perf_counter()
            read(path)
            times[way].append((time.perf_counter() - start) * 1e3)
    print(f"{name}: {'the same frames' if same else 'OTHER FRAMES'}, {rounds} rounds")
    for way, values in times.items():
        print(f"  {way}  min {min(values):6.1f} ms  median {statistics.median(values):6.1f} ms")
    here, there = times.values()
    difference = statistics.median(b - a for a, b in zip(here, there, strict=True))
    print(f"  extra            min {min(there) - min(here):6.1f} ms  median {difference:6.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description="What the worker costs.")
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        mp4 = write_clip(Path(folder) / "clip.mp4", "libx264", {"preset": "veryfast"})
        avi = write_clip(Path(folder) / "clip.avi", "mpeg4", {"b": "1500k", "g": "12"})
        compare("mp4 (H.264), random access", mp4, at_random, rounds)
        compare("avi (MPEG-4), in sequence", avi, in_sequence, rounds)


if __name__ == "__main__":
    main()
