"""The page through gradio_client and as MCP tools."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from hmdb.page.layout import build_demo
from hmdb.page.service.model_loader import BackgroundModel, load_recognizer
from hmdb.page.service.scheduler import Scheduler
from hmdb.page.settings import Settings
from hmdb.recognizer import Recognizer
from hmdb.results import Timeline
from hmdb.text import label_words
from tests.page.conftest import SETTINGS, served
from tests.support.clips import moving_bar, write_mp4
from tests.support.hub import HubServer
from tests.support.paths import ROOT
from tests.support.waiting import Clock


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    client = Client(url, verbose=False)
    yield client
    client.close()


# Through the API


def test_predict(client: Client, video: Path, recognizer: Recognizer) -> None:
    action, words, top, frames, answer = client.predict(handle_file(video), api_name="/predict")
    prediction = recognizer(video)
    assert action["label"] == label_words(prediction.label)
    assert label_words(prediction.label) in words
    assert [row[0] for row in top["data"]] == list(map(label_words, prediction.labels))
    assert len(frames) == 8
    assert answer["label"] == prediction.label
    assert answer["probability"] == pytest.approx(prediction.probability, abs=1e-5)
    assert answer["clip_spec"] == recognizer.loaded.clip_spec.to_dict()
    assert (answer["model"], answer["revision"]) == ("tiny", None)


def test_explain(client: Client, video: Path) -> None:
    frames, explanation = client.predict(handle_file(video), api_name="/explain")
    assert len(frames) == 8
    assert explanation["about"] == explanation["answer"]["label"]
    assert sum(explanation["frame_importance"]) == pytest.approx(1, abs=0.01)
    _, explanation = client.predict(handle_file(video), label="ride bike", opacity=0.3, api_name="/explain")
    assert explanation["about"] == "ride_bike"
    _, explanation = client.predict(handle_file(video), label="Everything it looked at", api_name="/explain")
    assert explanation["about"] is None


def test_timeline(client: Client, long_clip: Path) -> None:
    words, _, segments, files, timeline = client.predict(handle_file(long_clip), api_name="/timeline")
    assert words == "Classified 13 of 13 windows."
    assert len(segments["data"]) == len(timeline["segments"])
    assert [Path(file).suffix for file in files] == [".json", ".csv", ".srt"]
    assert json.loads(Path(files[0]).read_text())["segments"] == timeline["segments"]
    assert timeline["segments"][-1]["end_seconds"] == pytest.approx(60, abs=0.1)


def test_a_timeline_at_its_deadline_ends_with_a_partial_result(recognizer: Recognizer, long_clip: Path) -> None:
    clock = Clock()

    class Slow(Recognizer):
        def iter_timeline(self, *args: Any, **options: Any) -> Generator[Timeline]:
            for timeline in super().iter_timeline(*args, **options):
                yield timeline
                clock.now += 2

    demo = build_demo(Slow(recognizer.loaded), settings=Settings(answer_timeout_seconds=3))
    demo.handlers.scheduler = Scheduler(1, 3, clock=clock)
    with served(demo) as url:
        client = Client(url, verbose=False)
        words, *_, timeline = client.predict(handle_file(long_clip), api_name="/timeline")
        client.close()
    assert "Stopped at the time limit" in words
    assert 0 < timeline["num_answered"] < timeline["num_windows"]


def test_the_page_answers_with_a_model_of_the_hub(
    checkpoint: Path, recognizer: Recognizer, video: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with HubServer() as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        commit = hub.add("someone/actions", checkpoint)
        monkeypatch.setenv("HMDB_MODEL", "someone/actions")
        with served(build_demo(BackgroundModel(load_recognizer), settings=SETTINGS)) as url:
            client = Client(url, verbose=False)
            answer = client.predict(handle_file(video), api_name="/predict")[-1]
            client.close()
    assert (answer["model"], answer["revision"]) == ("someone/actions", commit)
    assert [each["label"] for each in answer["top"]] == list(recognizer(video).labels)


def test_compare_with_a_second_model(recognizer: Recognizer, video: Path) -> None:
    with served(build_demo(recognizer, recognizer, SETTINGS)) as url:
        client = Client(url, verbose=False)
        _, table, frames = client.predict(handle_file(video), api_name="/compare")
        client.close()
    assert table["headers"] == ["uniform", "equidistant", "random", "tiny"]
    assert len(frames) == 32


def test_labels_and_model(client: Client, recognizer: Recognizer) -> None:
    assert client.predict(api_name="/labels") == list(recognizer.labels)
    answer = client.predict(api_name="/model")
    assert answer == {**recognizer.loaded.to_dict(), "dtype": "float32"}
    assert answer["int8"] == {"offered": False, "cost": None}


def test_every_output_is_named(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/predict", "/explain", "/check", "/timeline", "/compare", "/labels", "/model"}
    names = [output["label"] for endpoint in endpoints.values() for output in endpoint["returns"]]
    assert not [name for name in names if not name or name.startswith("value_")]


def test_errors_reach_the_client_as_one_line_without_paths(client: Client, tmp_path: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_text("not a video")
    with pytest.raises(AppError, match=r"fake\.mp4") as caught:
        client.predict(handle_file(fake), api_name="/predict")
    assert str(tmp_path.parent) not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(AppError, match="Choose or record a video first"):
        client.predict(None, api_name="/predict")


def test_an_unknown_label_is_refused(client: Client, video: Path) -> None:
    with pytest.raises(AppError, match="juggling is not one of the labels"):
        client.predict(handle_file(video), label="juggling", api_name="/explain")


def test_an_answer_ends_at_its_deadline(recognizer: Recognizer, video: Path) -> None:
    class Slow(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            while True:
                self.probabilities(*args)

    with served(build_demo(Slow(recognizer.loaded), settings=Settings(answer_timeout_seconds=1))) as url:
        client = Client(url, verbose=False)
        with pytest.raises(AppError, match="longer than 1 seconds"):
            client.predict(handle_file(video), api_name="/predict")
        client.close()


def test_calls_on_a_lent_gpu_can_be_pickled(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "spaces.py").write_text(
        "import functools, inspect, pickle\n"
        "def GPU(duration):\n"
        "    def lend(function):\n"
        "        copy = lambda value: pickle.loads(pickle.dumps(value))\n"
        "        @functools.wraps(function)\n"
        "        def call(*a, **k): return copy(function(*copy(a), **copy(k)))\n"
        "        @functools.wraps(function)\n"
        "        def stream(*a, **k):\n"
        "            for item in function(*copy(a), **copy(k)): yield copy(item)\n"
        "        return stream if inspect.isgeneratorfunction(function) else call\n"
        "    return lend\n"
    )
    code = (
        "import sys\n"
        "from hmdb.page.service.handlers import Handlers\n"
        "from hmdb.page.service.model_loader import load_models\n"
        "from hmdb.page.settings import Settings\n"
        "settings = Settings.from_environment()\n"
        "do = Handlers(*load_models(settings), settings)\n"
        "video = sys.argv[1]\n"
        "for handler in (do.predict, do.explain, do.check, do.timeline, do.compare, do.trace_answer):\n"
        "    *_, last = handler(video)\n"
        "try:\n"
        "    list(do.explain(video, 'juggling'))\n"
        "except Exception as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "HMDB_MODEL": str(checkpoint)}
    environment["SPACES_ZERO_GPU"] = "true"
    run = subprocess.run([sys.executable, "-c", code, str(video)], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "juggling is not one of the labels" in run.stdout


def test_two_visitors_get_their_own_answers(url: str, recognizer: Recognizer, tmp_path: Path) -> None:
    paths = [write_mp4(tmp_path / f"{n}.mp4", moving_bar(n)) for n in (9, 60)]
    expected = [[list(frame.sources) for frame in recognizer(path).clip.frames] for path in paths]

    def ask(path: Path) -> Any:
        client = Client(url, verbose=False)
        answer = client.predict(handle_file(path), api_name="/predict")[-1]
        client.close()
        return [frame["sources"] for frame in answer["frames"]]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, paths * 2)) == expected * 2


def test_predict_as_an_mcp_tool(url: str, video: Path, recognizer: Recognizer) -> None:
    uri = "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()

    async def ask() -> tuple[set[str], Any]:
        async with (
            streamable_http_client(f"{url}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            tools = {tool.name for tool in (await session.list_tools()).tools}
            return tools, await session.call_tool("predict", {"video": uri})

    tools, result = asyncio.run(ask())
    assert {"predict", "explain", "timeline", "labels", "model"} <= tools
    assert not result.isError
    assert recognizer(video).label in " ".join(getattr(part, "text", "") for part in result.content)
