"""The files of the repository other than code: metadata, container, hooks and documentation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def read_yaml(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return values


def test_the_citation_names_the_software_and_the_paper() -> None:
    citation = read_yaml("CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert {"message", "title"} <= set(citation)
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]
    paper, *_ = citation["references"]
    assert paper["title"] == "Action Recognition Using Vision Transformers"
    assert paper["repository-code"] == project["urls"]["The paper's code"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_forms_are_what_github_takes(name: str) -> None:
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    identifiers = [field["id"] for field in form["body"]]
    assert len(set(identifiers)) == len(identifiers)
    for field in form["body"]:
        assert field["type"] == "textarea"
        assert field["attributes"]["label"]


def test_hooks_run_what_make_check_runs() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
    for hook in repository["hooks"]:
        assert hook["entry"].removesuffix(" --force-exclude") in makefile


def test_every_file_that_the_security_page_names_is_there() -> None:
    names = re.findall(r"`((?:hmdb/[\w/]+\.py)|[A-Z]\w+|uv\.lock)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(names) > 10
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_image_copies_what_there_is_and_leaves_out_nothing_of_it() -> None:
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert lines[0] == "*"
    assert copied == {line.removeprefix("!") for line in lines if line.startswith("!")}
    for name in copied:
        assert (ROOT / name).exists(), name
    assert "app.py" in copied
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.MULTILINE)


@contextmanager
def health(status: int) -> Iterator[int]:
    """The port of a server that answers /health with the status, and all else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_images_health_check_asks_the_page(status: int, healthy: bool) -> None:
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (.*)$", DOCKERFILE, re.MULTILINE)
    assert found
    program, *arguments = json.loads(found.group(1))
    assert program == "python"
    with health(status) as port:
        environment = {**os.environ, "GRADIO_SERVER_PORT": str(port)}
        run = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
    assert (run.returncode == 0) is healthy, run.stderr
