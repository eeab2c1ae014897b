"""Isolation: a client cannot read, name or learn about files of other clients, the page or the machine."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from hmdb.page.launch import PageServer
from hmdb.page.layout import build_demo
from hmdb.page.server.file_store import FILES, UPLOADS
from hmdb.page.settings import Settings
from hmdb.recognizer import Recognizer
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.visitor import Visitor, call_tool, file, file_names, http
from tests.support.waiting import wait_until
from tests.test_text import NAMES

SETTINGS = Settings(max_upload_mb=1)
EXAMPLES = ROOT / "examples"
WITH_A_VIDEO: dict[str, tuple[Any, ...]] = {  # the API's endpoints with a video, and their further arguments
    "predict": (),
    "explain": ("", 0.7),
    "check": ("",),
    "timeline": (),
    "compare": (),
}


@pytest.fixture(scope="module")
def demo(recognizer: Recognizer) -> Iterator[gr.Blocks]:
    demo = build_demo(recognizer, recognizer, settings=SETTINGS, examples=EXAMPLES)
    PageServer(demo, SETTINGS, quiet=True, server_port=free_port())
    yield demo
    demo.close()


@pytest.fixture
def visitor(demo: gr.Blocks) -> Visitor:
    return Visitor(str(demo.local_url))


@pytest.fixture
def other(demo: gr.Blocks, video: Path) -> tuple[str, list[str]]:
    """Another visitor's upload and the pictures of its answer, by name."""
    other = Visitor(str(demo.local_url))
    upload = other.upload(video.read_bytes())
    ok, answer = other.ask("predict", file(upload))
    assert ok
    return upload, file_names(answer)


def test_uploads_are_answered_and_served_to_their_client(visitor: Visitor, video: Path) -> None:
    upload = visitor.upload(video.read_bytes())
    assert visitor.get(upload).content == video.read_bytes()
    for endpoint, rest in WITH_A_VIDEO.items():
        ok, answer = visitor.ask(endpoint, file(upload), *rest)
        assert ok, answer
        for name in file_names(answer):
            assert visitor.get(name).status_code == 200


def test_examples_are_answered(visitor: Visitor) -> None:
    name = sorted(EXAMPLES.glob("*.mp4"))[0].name
    assert visitor.get(f"examples/{name}").status_code == 200
    ok, answer = visitor.ask("predict", file(f"examples/{name}"))
    assert ok, answer


def forbidden_names(other: tuple[str, list[str]], folder: Path, video: Path) -> dict[str, str]:
    """Names that are not an upload of the client, by what they are."""
    upload, pictures = other
    mine = FILES.root / upload
    stored = mine.parents[1]
    links = {name: stored / name for name in ("symlink.mp4", "hardlink.mp4", "pipe.mp4", "linked")}
    for link in links.values():
        link.unlink(missing_ok=True)
    links["symlink.mp4"].symlink_to(video)
    os.link(FILES.root / pictures[0], links["hardlink.mp4"])
    os.mkfifo(links["pipe.mp4"])
    links["linked"].symlink_to(folder, target_is_directory=True)
    inside = stored.relative_to(FILES.root)
    return {
        "the absolute path of an upload": str(mine),
        "a picture of an answer": pictures[0],
        "the folder of an answer": str(Path(pictures[0]).parent),
        "a file in an answer by a detour": f"{upload}/../../../../{pictures[0]}",
        "the folder of uploads": "uploads",
        "the folder of an upload": str(inside),
        "the folder of answers": "answers",
        "the page's folder": "",
        "a dot": ".",
        "above it": "..",
        "a detour to a real upload": f"uploads/../{upload}",
        "a doubled slash": upload.replace("/", "//"),
        "a backslash": upload.replace("/", "\\"),
        "a null byte": f"{upload}\0",
        "a symlink": str(inside / "symlink.mp4"),
        "a hard link": str(inside / "hardlink.mp4"),
        "a pipe": str(inside / "pipe.mp4"),
        "a linked folder": str(inside / "linked" / video.name),
        "a guess": f"uploads/{secrets.token_urlsafe(24)}/clip.mp4",
        "a file of the machine": "/etc/passwd",
        "a video of the machine": str(video),
        "the project": str(ROOT / "pyproject.toml"),
        "the examples": "examples",
        "the environment": "/proc/self/environ",
        "what is open": "/proc/self/fd/0",
        "a device": "/dev/zero",
        "an address": "http://127.0.0.1:1/clip.mp4",
        "another address": "https://example.com/clip.mp4",
        "a file's address": f"file://{mine}",
    }


def test_requests_cannot_name_files_of_others(
    demo: gr.Blocks, visitor: Visitor, other: tuple[str, list[str]], tmp_path: Path, video: Path
) -> None:
    names = forbidden_names(other, video.parent, video)
    endpoints = [fn for fn in demo.fns.values() if fn.inputs]
    assert len(endpoints) > len(WITH_A_VIDEO)
    for why, name in names.items():
        for what in (file(name), {"path": name}, [file(name)], {"video": file(name)}, file(name, url=name)):
            for endpoint, rest in WITH_A_VIDEO.items():
                ok, error = visitor.ask(endpoint, what, *rest)
                assert not ok, (why, endpoint)
                assert error == '{"detail":"This video does not exist or has expired. Upload it again."}', (
                    why,
                    error,
                )
            for fn in endpoints:
                refused = visitor.join(fn._id, [what] * len(fn.inputs))
                assert refused.status_code == 400, (why, fn.api_name)
                assert_no_path(refused.text)


def test_files_of_others_are_not_served(visitor: Visitor, other: tuple[str, list[str]], video: Path) -> None:
    for why, name in forbidden_names(other, video.parent, video).items():
        refused = visitor.get(name.replace("\0", "%00"))
        assert refused.status_code == 404, (why, refused.text)
        assert_no_path(refused.text)


def test_direct_calls_are_checked_too(demo: gr.Blocks, visitor: Visitor, other: tuple[str, list[str]]) -> None:
    _, pictures = other
    foreign = file(str(FILES.root / pictures[0]))
    for fn in demo.fns.values():
        for route in ("run", "api", "call/v2"):
            answer = visitor.http.post(f"{route}/{fn.api_name}", json={"data": [foreign], "video": foreign})
            assert answer.status_code in (400, 404, 422), (route, fn.api_name)
            assert_no_path(answer.text)


def test_the_same_video_twice_makes_two_uploads(visitor: Visitor, other: tuple[str, list[str]], video: Path) -> None:
    upload, _ = other
    mine = visitor.upload(video.read_bytes())
    assert mine.split("/")[1] != upload.split("/")[1]


def test_each_answer_gets_its_own_folder(visitor: Visitor, video: Path) -> None:
    upload = file(visitor.upload(video.read_bytes()))
    answers = [file_names(visitor.ask("predict", upload)[1]) for _ in range(2)]
    folders = [{Path(name).parent for name in names} for names in answers]
    assert list(map(len, folders)) == [1, 1]
    assert folders[0] != folders[1]


def test_expired_files_are_neither_served_nor_read(visitor: Visitor, video: Path) -> None:
    upload = visitor.upload(video.read_bytes())
    _, answer = visitor.ask("predict", file(upload))
    FILES.keep_seconds = 0
    try:
        for name in (upload, *file_names(answer)):
            assert visitor.get(name).status_code == 404
        assert not visitor.ask("predict", file(upload))[0]
        FILES.delete_expired()
        assert not (FILES.root / upload).exists()
        assert not any((FILES.root / name).exists() for name in file_names(answer))
    finally:
        FILES.keep_seconds = SETTINGS.keep_seconds


def assert_no_path(text: str) -> None:
    for secret in (str(FILES.root), str(FILES.root.parent), str(ROOT), str(Path.home()) + "/", "site-packages"):
        assert secret not in text


PAGES = (
    "",
    "config",
    "theme.css",
    "gradio_api/info",
    "gradio_api/openapi.json",
    "gradio_api/mcp/schema",
    "gradio_api/nowhere",
)


def test_responses_contain_no_server_path(demo: gr.Blocks, visitor: Visitor, video: Path) -> None:
    for page in PAGES:
        assert_no_path(http.get(f"{demo.local_url}{page}").text)
    upload = visitor.upload(video.read_bytes())
    bad = visitor.upload(b"no video", "bad.mp4")
    for endpoint, rest in WITH_A_VIDEO.items():
        for path in (upload, bad):
            assert_no_path(str(visitor.ask(endpoint, file(path), *rest)))
        assert_no_path(str(visitor.ask(endpoint, {"nonsense": 1}, 7, [], None)))


def nonsense(upload: str) -> Iterator[tuple[Any, Any]]:
    """Values for each input of a function and click events, invalid for most functions."""
    for value in (file(upload), [file(upload)], "https://example.com/x", 1e99):
        yield value, None
    clicks: tuple[Any, ...] = (7, {"index": file(upload)}, {"index": 99, "value": "x"})
    for clicked in clicks:
        yield None, clicked


def test_errors_are_one_line_without_a_path(
    demo: gr.Blocks, visitor: Visitor, capfd: pytest.CaptureFixture[str]
) -> None:
    upload, failed = visitor.upload(b"no video", "bad.mp4"), 0
    for fn in demo.fns.values():
        for value, clicked in nonsense(upload):
            ended = visitor.run_event(fn._id, [value] * len(fn.inputs), clicked)
            assert_no_path(str(ended))
            if not ended["success"]:
                failed += 1
                message = ended["output"]["error"]
                plain = message and len(message) < 200 and message.isprintable()
                assert plain, (fn.api_name, message)
                assert upload not in message
    assert failed > 20
    assert "Traceback" not in capfd.readouterr().err  # it is only in the log


CLOSED = (
    "GET gradio_api/proxy=https://example.hf.space/x", "GET gradio_api/proxy=%00", "GET gradio_api/deep_link",
    "POST gradio_api/component_server", "POST gradio_api/process_recording", "POST gradio_api/vibe-edit/",
    "GET gradio_api/vibe-code/", "GET gradio_api/dev/reload", "GET monitoring", "GET monitoring/summary",
    "GET gradio_api/runs", "POST login", "GET gradio_api/custom_component/1/client/component/x.js", "GET docs",
    "GET gradio_api/file/etc/passwd", "GET openapi.json", "GET gradio_api/stream/a/b/c/playlist.m3u8",
)  # fmt: skip


@pytest.mark.parametrize("request_line", CLOSED)
def test_unneeded_routes_are_closed(demo: gr.Blocks, request_line: str) -> None:
    method, path = request_line.split()
    answer = http.request(method, f"{demo.local_url}{path}")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Not found.")


def test_gradio_client_works(demo: gr.Blocks, video: Path, tmp_path: Path) -> None:
    client = Client(str(demo.local_url), verbose=False, download_files=tmp_path)
    *_, frames, answer = client.predict(handle_file(video), api_name="/predict")
    client.close()
    assert all(Path(frame["image"]).read_bytes().startswith(b"\xff\xd8") for frame in frames)
    assert answer["label"]


def test_mcp_reads_no_files_or_urls(demo: gr.Blocks, other: tuple[str, list[str]], video: Path) -> None:
    for why, name in forbidden_names(other, video.parent, video).items():
        result = asyncio.run(call_tool(str(demo.local_url), "predict", {"video": name}))
        assert result.isError, why
        assert_no_path(str(result).replace(name, "").replace(repr(name)[1:-1], ""))
    for arguments in ({"video": file("/etc/passwd")}, {"video": "data:,x", "label": file("/etc/passwd")}):
        assert asyncio.run(call_tool(str(demo.local_url), "explain", arguments)).isError


def test_mcp_descriptions_ask_for_data_urls(demo: gr.Blocks) -> None:
    async def tools() -> Any:
        async with (
            streamable_http_client(f"{demo.local_url}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return (await session.list_tools()).model_dump()["tools"]

    listed = http.get(f"{demo.local_url}gradio_api/mcp/schema").json()
    for tool in [*asyncio.run(tools()), *listed]:
        takes_a_file = tool["name"] in WITH_A_VIDEO
        assert ("as a data URL: data:video/mp4;base64,..." in tool["description"]) == takes_a_file
        assert ("data:video/mp4;base64,..." in str(tool["inputSchema"])) == takes_a_file
        assert not re.search("http|upload|returned path", str(tool))


def test_mcp_returns_urls_that_the_client_can_fetch(demo: gr.Blocks, video: Path) -> None:
    import base64

    uri = "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()
    result = asyncio.run(call_tool(str(demo.local_url), "predict", {"video": uri}))
    text = " ".join(getattr(part, "text", "") for part in result.content)
    assert_no_path(text)
    addresses = re.findall(r"http://[^\s'\"]+\.jpg", text)
    assert len(set(addresses)) == 8
    assert all(http.get(address).status_code == 200 for address in addresses)
    wait_until(lambda: not FILES.untracked())


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_uploads_may_have_any_plain_file_name(visitor: Visitor, video: Path, name: str) -> None:
    upload = visitor.upload(video.read_bytes(), name)
    assert Path(upload).suffix == Path(name).suffix
    answered, answer = visitor.ask("predict", file(upload))
    assert answered, answer
    assert visitor.get(upload).content == video.read_bytes()


@pytest.mark.parametrize("character", "\n\x1b\x7f\x85", ids=ascii)
def test_control_characters_in_names_are_rejected(visitor: Visitor, video: Path, character: str) -> None:
    path = FILES.root / visitor.upload(video.read_bytes())
    name = f"cl{character}ip.mp4"
    path.rename(path.with_name(name))
    assert FILES.resolve(f"{path.parent.relative_to(FILES.root)}/{name}", UPLOADS) is None
    path.with_name(name).rename(path)
    assert FILES.resolve(str(path.relative_to(FILES.root)), UPLOADS) == path
