"""A file or a folder of frames -> its frames. The only place that decodes.

    base.py         what a video and its frames are
    sniff.py        first bytes -> container; refuses everything that is not on its list
    folder.py       a folder of images
    file.py         a file, read through a worker
    client.py       starts, limits, kills and replaces the workers
    worker.py       the decoding process: requests in, pixels out
    sandbox.py      in the worker: gives up what a decoder does not need
    scan.py         in the worker: what a file holds, from its packets, and which decoder suits it
    decoders.py     in the worker: decord and PyAV

Frames are what the file stores for a player to show, in the order of their timestamps: upright and mirrored as its
matrix says, without those that an edit list hides, and without those at its beginning that are made of frames which are
missing. Interlaced pictures stay woven, both fields in one frame, and a field that a film's telecine repeats is not
repeated: timestamps tell how long a frame lasts.

No video file is decoded in the process that answers: a loop, an abort or a memory bomb ends a worker, which has no
torch, no secrets and no state, and the request that it came with. Pillow reads pictures in the process itself: those of
a folder, which no visitor can send, and those of a live camera, JPEGs of limited size (`hmdb/page/tabs/live.py`).
"""

from __future__ import annotations

from pathlib import Path

from hmdb.errors import VideoError
from hmdb.text import one_line
from hmdb.video.file import VideoFile, open_error
from hmdb.video.folder import IMAGE_SUFFIXES, FrameFolder, frame_paths, is_frame_folder
from hmdb.video.limits import Limits
from hmdb.video.sniff import VIDEO_SUFFIXES
from hmdb.video.video import Frames, Video
from hmdb.video.worker.sandbox import Confinement
from hmdb.video.worker_pool import WorkerError, default_pool

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Confinement",
    "Format",
    "Frames",
    "Video",
    "VideoLike",
    "confinement",
    "frame_paths",
    "is_frame_folder",
    "one_line",
    "open_video",
    "prepare",
    "shown_name",
]


VideoLike = str | Path | Video  # a path, or a video that was opened before


def open_video(path: VideoLike, *, limits: Limits | None = None) -> Video:
    """Opens a video file or a folder of frames. There is nothing to close.

    >>> video = open_video("examples/wave.mp4")
    >>> video.num_frames, video.size, video.fps
    (80, (320, 240), 25.0)
    >>> frames = video.frames_at([0, 10, 20])
    >>> frames.pixels.shape, frames.seconds
    ((3, 240, 320, 3), (0.0, 0.4, 0.8))

    Args:
        path: a video that is open already is given back as it is.
        limits: what reading it may cost; those of the environment by default.

    Raises:
        VideoError: nothing there, or nothing that can be read as a video.
    """
    if isinstance(path, Video):
        return path
    path = Path(path).absolute()
    limits = limits or Limits.from_environment()
    try:
        return FrameFolder(path, limits) if path.is_dir() else VideoFile(path, limits)
    except OSError as error:
        raise open_error(path, error) from error


def prepare() -> None:
    """Starts a decoding process ahead of the first video, and does not wait for it."""
    default_pool().prepare(Limits.from_environment())


def confinement() -> Confinement:
    """What the decoding processes of this one have given up, as far as the system lets them.

    The first call may start one; later ones return at once.

    Raises:
        VideoError: none can be started.
    """
    try:
        return default_pool().confinement(Limits.from_environment())
    except (WorkerError, OSError) as error:
        raise VideoError("No decoding process can be started.") from error
