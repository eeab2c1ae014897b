"""Generates the videos of the benchmarks."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NUM_FRAMES, FPS, SIZE = 300, 30, (320, 240)


def write_clip(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    *,
    num_frames: int = NUM_FRAMES,
    size: tuple[int, int] = SIZE,
    seed: int = 0,
) -> Path:
    """Writes blobs that move over noise, which compress about like a real video."""
    width, height = size
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=FPS, options=options or {"preset": "veryfast"})
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


def write_repeated(path: Path, clip: Path, times: int) -> Path:
    """Writes a clip `times` times in a row, without encoding it again."""
    with av.open(str(path), "w") as target:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(clip)) as source:
                pictures = source.streams.video[0]
                stream = stream or target.add_stream_from_template(pictures)
                for packet in source.demux(pictures):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.dts, packet.pts, packet.stream = packet.dts + offset, packet.pts + offset, stream
                    target.mux(packet)
                offset += pictures.duration or 0
    return path


def write_lossless(path: Path, pixels: np.ndarray) -> Path:
    """Writes uint8 (T, H, W, 3) as a video that decodes to the same pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=FPS, options={"qp": "0", "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)  # noqa: S101 - for mypy
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "rgb24"
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
