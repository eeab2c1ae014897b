"""Draws the clips of `examples/`: `python -m drawings.make_examples [folder]`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from drawings.drawing import FPS, render

EXAMPLES_FOLDER = Path(__file__).parents[1] / "examples"
MAX_BYTES = 300_000  # of a clip
EXAMPLES = {  # action -> seed, scene
    "cartwheel": (24, "gym"),
    "golf": (4, "park"),
    "handstand": (5, "beach"),
    "pullup": (2, "gym"),
    "pushup": (24, "gym"),
    "ride_bike": (23, "street"),
    "situp": (24, "studio"),
    "wave": (25, "street"),
}


def write_mp4(frames: np.ndarray, path: Path, *, fps: int = FPS, crf: int = 24, preset: str = "slow") -> Path:
    """Encodes uint8 RGB (N, H, W, 3), H and W even, as H.264 that plays while it loads."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # one thread, so that the same frames give the same file
        stream.options = {"crf": str(crf), "preset": preset, "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def make(folder: Path, actions: Iterable[str] = EXAMPLES) -> list[Path]:
    """Draws and writes `<folder>/<action>.mp4` for each of the actions."""
    paths = []
    for action in actions:
        seed, scene = EXAMPLES[action]
        path = write_mp4(render(action, seed, scene=scene), folder / f"{action}.mp4")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
        paths.append(path)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=EXAMPLES_FOLDER)
    make(parser.parse_args().folder)
