"""Gradio would hand uploads to ffmpeg and ffprobe, where it finds them. Here it never does."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from hmdb.page.launch import PageServer as Served
from hmdb.page.layout import build_demo
from hmdb.page.server.file_store import FILES
from hmdb.page.settings import Settings
from hmdb.recognizer import Recognizer
from tests.page.conftest import free_port
from tests.page.views.test_preview import encode
from tests.support.clips import moving_bar
from tests.support.paths import ROOT
from tests.support.visitor import Visitor, file

SETTINGS = Settings()
UPLOADS = {
    "vp9.mp4": "libvpx-vp9",  # which the one calls playable and Gradio not
    "vp9.webm": "libvpx-vp9",
    "h264.mp4": "libx264",
    "h264.mkv": "libx264",
    "hevc.mp4": "libx265",
    "mpeg4.avi": "mpeg4",
}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with a line for each start of an ffmpeg or ffprobe, which come first on the PATH."""
    folder = tmp_path_factory.mktemp("programs")
    log = folder / "started"
    for name in ("ffmpeg", "ffprobe"):
        (folder / name).write_text(f'#!/bin/sh\necho "$0 $@" >> {log}; echo {{}}\n')
        (folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        assert shutil.which("ffmpeg") == str(folder / "ffmpeg")
        yield log


@pytest.fixture(scope="module")
def demo(recognizer: Recognizer, started: Path) -> Iterator[gr.Blocks]:
    demo = build_demo(recognizer, settings=SETTINGS, examples=ROOT / "examples")
    Served(demo, SETTINGS, quiet=True, server_port=free_port())
    yield demo
    demo.close()


@pytest.mark.parametrize("name", UPLOADS)
def test_no_program_is_started_for_an_upload(demo: gr.Blocks, started: Path, tmp_path: Path, name: str) -> None:
    content = encode(tmp_path / name, UPLOADS[name], moving_bar(12)).read_bytes()
    visitor = Visitor(str(demo.local_url))
    upload = file(visitor.upload(content, name))
    values = {"file": upload, "video": upload, "textbox": "", "dropdown": None, "slider": 0.5, "dataset": 0}
    answered = 0
    for fn in demo.fns.values():
        if fn.queue is False or not fn.inputs:
            continue
        data = [values.get(each.get_block_name(), {}) for each in fn.inputs]
        answered += bool(visitor.end_of(fn._id, data)["success"])
    assert answered >= 10
    assert not started.exists(), started.read_text()


def test_what_a_browser_does_not_play_is_shown_as_h264(demo: gr.Blocks, started: Path, tmp_path: Path) -> None:
    from hmdb.page.views.preview import plays_in_browser

    content = encode(tmp_path / "vp9.mp4", "libvpx-vp9", moving_bar(12)).read_bytes()
    visitor = Visitor(str(demo.local_url))
    upload = file(visitor.upload(content, "vp9.mp4"))
    take = next(
        fn
        for fn in demo.fns.values()
        if fn.name == "take" and fn.inputs[:1] and fn.inputs[0].get_block_name() == "file"
    )
    run = next(fn for fn in demo.fns.values() if fn.name == "run" and fn._id > take._id)
    for fn, data in ((take, [upload]), (run, [None])):  # what was taken is in a state, which stays on the server
        visitor.join(fn._id, data)
        with visitor.http.stream("GET", "queue/data", params={"session_hash": visitor.session}) as events:
            text = events.read().decode()
    shown = set(re.findall(r'"path":"(answers/[^"]+/preview[^"]*)"', text))
    assert shown
    assert all(plays_in_browser(FILES.root / each) for each in shown)
    assert not started.exists()
