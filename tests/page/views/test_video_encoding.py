from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hmdb import VideoError
from hmdb.page.views import video_encoding
from hmdb.page.views.overlay_video import overlay_loop
from hmdb.page.views.preview import make_preview, plays_in_browser
from hmdb.page.views.video_encoding import encode_video, fit_even
from hmdb.recognizer import Recognizer
from hmdb.video import open_video
from tests.support.clips import moving_bar


def test_an_encoded_video_has_the_given_frames_size_and_rate(tmp_path: Path) -> None:
    written = encode_video(moving_bar(10, (64, 48)), tmp_path / "a", (32, 24), 12.5)
    assert plays_in_browser(written)
    shown = open_video(written)
    assert (shown.num_frames, shown.size, shown.fps) == (10, (32, 24), 12.5)


def test_sizes_are_even_and_not_enlarged() -> None:
    assert fit_even(320, 101, 51) == (100, 52)
    assert fit_even(320, 7680, 4) == (320, 2)


def test_a_codec_without_an_encoder_is_skipped(
    tmp_path: Path, video: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    explanation = recognizer.explain(recognizer.read(video))
    monkeypatch.setattr(video_encoding, "SUFFIXES", {"libdav1d": ".mp4", "libvpx": ".webm"})  # libdav1d only decodes
    for written in (make_preview(video, tmp_path / "p"), Path(overlay_loop(explanation))):
        assert written.suffix == ".webm"
        assert plays_in_browser(written)
    monkeypatch.setattr(video_encoding, "SUFFIXES", {"libdav1d": ".mp4"})
    with pytest.raises(VideoError, match=r"neither H.264 nor VP8"):
        overlay_loop(explanation)


def test_an_unwritable_video_is_one_line_of_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limits of processes there")
    noise = np.random.default_rng(0).integers(0, 256, (30, 240, 320, 3), np.uint8)
    with pytest.raises(VideoError, match=r"^The video a\.mp4 cannot be written: No such file or directory\.$"):
        encode_video(noise, tmp_path / "nowhere" / "a", (320, 240), 12)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))  # as a full disk would stop it
    try:
        with pytest.raises(VideoError, match=r"^The video a\.mp4 cannot be written: File too large\.$"):
            encode_video(noise, tmp_path / "a", (320, 240), 12)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
