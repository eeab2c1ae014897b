"""The scripts of examples/, run as a user runs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from hmdb.page.layout import build_demo
from hmdb.recognizer import Recognizer
from tests.page.conftest import SETTINGS, served
from tests.support.paths import EXAMPLES, ROOT


@pytest.fixture(scope="module")
def url(recognizer: Recognizer) -> Iterator[str]:
    with served(build_demo(recognizer, settings=SETTINGS, examples=EXAMPLES)) as url:
        yield url


def run(*command: str | Path) -> list[str]:
    """The lines that a command prints."""
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_classify_prints_five_actions_and_saves_the_map(tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    lines = run(sys.executable, "-m", "examples.classify", EXAMPLES / "wave.mp4", picture)
    assert lines[0].startswith("wave ")
    assert [line.endswith("%") for line in lines] == [True] * 5 + [False]
    assert lines[5] == f"The frames with their map are in {picture}."
    with Image.open(picture) as image:
        assert image.size == (4 * 320 + 3 * 4, 2 * 240 + 4)


def test_call_api_prints_the_prediction_and_the_timeline(url: str, recognizer: Recognizer) -> None:
    lines = run(sys.executable, "-m", "examples.call_api", "--url", url, EXAMPLES / "golf.mp4")
    prediction = recognizer(EXAMPLES / "golf.mp4")
    assert [line.split()[0] for line in lines[:5]] == list(prediction.labels)
    assert [line.split()[1] for line in lines[:5]] == [f"{value:.1%}" for value in prediction.probabilities]
    segments = recognizer.timeline(EXAMPLES / "golf.mp4").segments
    assert [line.split("  ")[-1] for line in lines[5:]] == [
        segment.label or "none of the actions" for segment in segments
    ]


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("sh"), reason="curl or sh is not installed")
def test_call_api_with_curl_prints_the_events(url: str, recognizer: Recognizer) -> None:
    lines = run("sh", EXAMPLES / "call_api.sh", EXAMPLES / "golf.mp4", url.rstrip("/"))
    assert "event: complete" in lines
    label = recognizer(EXAMPLES / "golf.mp4").label
    assert f'"label": "{label}"' in lines[lines.index("event: complete") + 1]


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("sh"), reason="curl or sh is not installed")
def test_call_api_with_curl_fails_without_a_page() -> None:
    command = [str(shutil.which("sh")), str(EXAMPLES / "call_api.sh"), str(EXAMPLES / "golf.mp4"), "http://127.0.0.1:9"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert finished.stdout == ""
