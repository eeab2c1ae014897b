"""Limits on the cost of reading one video. An environment variable can set each."""

from __future__ import annotations

from dataclasses import dataclass

from hmdb.settings import FromEnvironment


@dataclass(frozen=True, kw_only=True)
class Limits(FromEnvironment):
    """Limits on reading one video. HMDB_DECODE_SECONDS sets `seconds`, and so on for each name.

    Attributes:
        seconds: for one request (open, or read frames), whichever decoders it takes: decord gets half of the time
            left when it begins, and PyAV the rest. Waiting for a decoding process does not count.
        memory_mb: address space of a decoding process, in MiB.
        source_pixels: the largest picture that is decoded, width x height: 8K.
        pixels: the largest picture that is delivered, width x height: 720p. Larger ones are reduced.
        frames: the longest video: an hour at 120 frames per second.
        kept_mb: frames that a decoding process may keep between requests, in MiB.
        workers: decoding processes of one process; further requests wait for one.
        requests: number of requests after which a decoding process is replaced.
    """

    prefix = "HMDB_DECODE_"

    seconds: float = 15.0
    memory_mb: int = 3072
    source_pixels: int = 8192 * 4320
    pixels: int = 1280 * 720
    frames: int = 3600 * 120
    kept_mb: int = 256
    workers: int = 2
    requests: int = 200

    def fitted(self, width: int, height: int) -> tuple[int, int]:
        """Returns the (width, height) that a picture is delivered at, with its aspect ratio kept.

        >>> Limits().fitted(3840, 2160), Limits().fitted(320, 240)
        ((1280, 720), (320, 240))
        """
        scale = (self.pixels / (width * height)) ** 0.5
        if scale >= 1:
            return width, height
        return max(1, round(width * scale)), max(1, round(height * scale))
