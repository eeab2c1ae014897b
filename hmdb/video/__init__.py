"""Decodes a video file or a folder of frames.

    video.py           the interface: `Video`, its frames and its format
    sniff.py           first bytes -> container; refuses everything that is not on its list
    folder.py          a folder of images
    file.py            a file, decoded by a worker
    discover.py        finds videos in folders
    limits.py          limits on the cost of one video, set by the environment
    worker_pool.py     the workers of this process
    worker_process.py  one worker: started, asked with a deadline, killed
    protocol.py        the messages between this process and a worker
    worker/            everything that runs in the worker, confined

Frames are those that a player shows, in the order of their timestamps: upright and mirrored by the display matrix,
without those that an edit list hides, and without those at the beginning that refer to missing frames. Interlaced
pictures stay woven, both fields in one frame, and a field that telecine repeats is not repeated: timestamps tell how
long a frame lasts.

No video file is decoded in this process: an endless loop, an abort or a memory bomb ends a worker, which has no torch,
no secrets and no state, and with it one request. Pillow decodes pictures in this process: those of a folder, which no
visitor of the page can send, and those of a live camera, JPEGs of limited size.
"""

from __future__ import annotations

from pathlib import Path

from hmdb.errors import VideoError
from hmdb.video.file import VideoFile, open_error
from hmdb.video.folder import IMAGE_SUFFIXES, FrameFolder, frame_paths, is_frame_folder
from hmdb.video.limits import Limits
from hmdb.video.protocol import Confinement
from hmdb.video.sniff import VIDEO_SUFFIXES
from hmdb.video.video import Frames, Video
from hmdb.video.worker_pool import default_pool
from hmdb.video.worker_process import WorkerError

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Confinement",
    "Frames",
    "Video",
    "VideoLike",
    "confinement",
    "frame_paths",
    "is_frame_folder",
    "open_video",
    "prepare",
]


VideoLike = str | Path | Video  # a path, or an open video


def open_video(path: VideoLike, *, limits: Limits | None = None) -> Video:
    """Opens a video file or a folder of frames. It need not be closed.

    >>> video = open_video("examples/wave.mp4")
    >>> video.num_frames, video.size, video.fps
    (80, (320, 240), 25.0)
    >>> frames = video.frames_at([0, 10, 20])
    >>> frames.pixels.shape, frames.seconds
    ((3, 240, 320, 3), (0.0, 0.4, 0.8))

    Args:
        path: an open video is returned as it is.
        limits: on the cost of reading it; by default those that the environment sets.

    Raises:
        VideoError: there is no such file, or it cannot be read as a video.
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
    """Starts a decoding process ahead of the first video, without waiting for it."""
    default_pool().prepare(Limits.from_environment())


def confinement() -> Confinement:
    """Returns the parts of the sandbox that hold in the decoding processes.

    The first call may start one and wait for it, up to a minute; later calls return at once.

    Raises:
        VideoError: none can be started.
    """
    try:
        return default_pool().confinement(Limits.from_environment())
    except (WorkerError, OSError) as error:
        raise VideoError("No decoding process can be started.") from error
