"""The hooks into Gradio: each exists in the installed version, and no ffmpeg program is run."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name

import gradio as gr
import pytest

from hmdb.page.launch import PageServer
from hmdb.page.layout import build_demo
from hmdb.page.server import gradio_patches
from hmdb.page.server.file_store import FILES
from hmdb.page.settings import Settings
from hmdb.recognizer import Recognizer
from tests.support.clips import encode, moving_bar
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.visitor import Visitor, file

SETTINGS = Settings()
HOOKS = re.findall(r"^\| `(.+?)` \| (\S+\.py) \| .+ \|$", gradio_patches.__doc__ or "", re.MULTILINE)
UPLOADS = {
    "vp9.mp4": "libvpx-vp9",  # which browsers play, and Gradio would convert
    "vp9.webm": "libvpx-vp9",
    "h264.mp4": "libx264",
    "h264.mkv": "libx264",
    "hevc.mp4": "libx265",
    "mpeg4.avi": "mpeg4",
}


@pytest.fixture(scope="module")
def ffmpeg_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of fake ffmpeg and ffprobe programs, which come first on the PATH; missing until one is run."""
    folder = tmp_path_factory.mktemp("programs")
    log = folder / "ffmpeg.log"
    for name in ("ffmpeg", "ffprobe"):
        (folder / name).write_text(f'#!/bin/sh\necho "$0 $@" >> {log}; echo {{}}\n')
        (folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        assert shutil.which("ffmpeg") == str(folder / "ffmpeg")
        yield log


@pytest.fixture(scope="module")
def demo(recognizer: Recognizer, ffmpeg_log: Path) -> Iterator[gr.Blocks]:
    demo = build_demo(recognizer, settings=SETTINGS, examples=ROOT / "examples")
    PageServer(demo, SETTINGS, quiet=True, server_port=free_port())
    yield demo
    demo.close()


@pytest.mark.parametrize(("hook", "path"), HOOKS, ids=[hook for hook, _ in HOOKS])
def test_hooks_exist_in_the_installed_gradio(demo: gr.Blocks, hook: str, path: str) -> None:
    dotted, _, parameter = hook.rstrip(")").partition("(")
    target = attrgetter(dotted.removeprefix("demo."))(demo) if dotted.startswith("demo.") else resolve_name(dotted)
    if parameter:
        assert parameter in inspect.signature(target).parameters
    source = (ROOT / "hmdb" / "page" / path).read_text(encoding="utf-8")
    assert re.search(rf"\b{parameter or dotted.rpartition('.')[2]}\b", source), f"{path} does not use {hook}"


def test_every_import_from_gradios_modules_is_listed() -> None:
    pages = ROOT / "hmdb" / "page"
    imports = {
        (f"{node.module}.{alias.name}", str(path.relative_to(pages)))
        for path in pages.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradio.")
        for alias in node.names
    }
    assert imports
    for name, path in imports:
        assert any(f"{hook}.".startswith(f"{name}.") for hook, file in HOOKS if file == path), f"{name} of {path}"


@pytest.mark.parametrize("name", UPLOADS)
def test_no_ffmpeg_program_runs_on_uploads(demo: gr.Blocks, ffmpeg_log: Path, tmp_path: Path, name: str) -> None:
    content = encode(tmp_path / name, UPLOADS[name], moving_bar(12)).read_bytes()
    visitor = Visitor(str(demo.local_url))
    upload = file(visitor.upload(content, name))
    values = {
        "number": 1,
        "file": upload,
        "video": upload,
        "textbox": "",
        "dropdown": None,
        "slider": 0.5,
        "dataset": 0,
    }
    answered = 0
    for fn in demo.fns.values():
        if not fn.inputs and fn.name != "run":
            continue
        data = [values.get(each.get_block_name(), {}) for each in fn.inputs]
        answered += bool(visitor.run_event(fn._id, data)["success"])
    assert answered >= 10
    assert not ffmpeg_log.exists(), ffmpeg_log.read_text()


def test_unplayable_videos_are_previewed_as_h264(demo: gr.Blocks, ffmpeg_log: Path, tmp_path: Path) -> None:
    from hmdb.page.views.preview import plays_in_browser

    content = encode(tmp_path / "vp9.mp4", "libvpx-vp9", moving_bar(12)).read_bytes()
    visitor = Visitor(str(demo.local_url))
    upload = file(visitor.upload(content, "vp9.mp4"))
    take = next(
        fn
        for fn in demo.fns.values()
        if fn.name == "on_new_video" and [each.get_block_name() for each in fn.inputs] == ["number", "file"]
    )
    run = next(fn for fn in demo.fns.values() if fn.name == "run" and fn._id > take._id)
    for fn, data in ((take, [1, upload]), (run, [])):
        visitor.join(fn._id, data)
        with visitor.http.stream("GET", "queue/data", params={"session_hash": visitor.session}) as events:
            text = events.read().decode()
    shown = set(re.findall(r'"path":"(answers/[^"]+/preview[^"]*)"', text))
    assert shown
    assert all(plays_in_browser(FILES.root / each) for each in shown)
    assert not ffmpeg_log.exists()
