"""The files that Spaces read, and the documented way to publish."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from hmdb.batch_inference.download import FetchLimits
from hmdb.page.settings import ServerAddress, Settings
from hmdb.video.limits import Limits
from tests.support.hub import HubServer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEPLOYMENT = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")


def front_matter() -> dict[str, Any]:
    _, text, _ = README.split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def requirements(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    stripped = [line.partition("#")[0].strip() for line in lines]
    found = [Requirement(line) for line in stripped if line and not line.startswith("--")]
    return {requirement.name.lower().replace("_", "-"): requirement for requirement in found}


PINS = {name: str(pin.specifier).removeprefix("==") for name, pin in requirements("constraints.txt").items()}


def test_the_front_matter_is_what_spaces_want() -> None:
    values = front_matter()
    assert values["sdk"] == "gradio"
    assert values["sdk_version"] == PINS["gradio"]
    assert (ROOT / values["app_file"]).exists()
    assert len(values["short_description"]) <= 60
    assert values["license"] == "apache-2.0"
    assert {"title", "emoji", "colorFrom", "colorTo", "python_version", "suggested_hardware"} <= set(values)


def test_spaces_get_what_the_package_and_its_extras_ask_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = [Requirement(line) for line in (*project["dependencies"], *extras["page"], *extras["train"])]
    assert {str(requirement) for requirement in named} == set(map(str, requirements("requirements.txt").values()))
    assert extras["all"] == ["hmdb[page,train]"]


def test_a_space_on_a_cpu_gets_a_torch_without_cuda() -> None:
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]
    (index,) = uv["index"]
    assert f"--extra-index-url {index['url']}" in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert index["explicit"]
    assert uv["sources"]["torch"]["index"] == index["name"]


@pytest.mark.parametrize(("name", "version"), [("torch", "2.8.0"), ("torch", "2.11.0"), ("transformers", "5.17.0")])
def test_the_ranges_admit_what_zero_gpu_and_others_bring(name: str, version: str) -> None:
    assert version in requirements("requirements.txt")[name].specifier


def test_every_setting_is_documented() -> None:
    documented = (FetchLimits, Limits, ServerAddress, Settings)
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "hmdb").rglob("*.py"))
    assert sorted(re.findall(r"^class (\w+)\(FromEnvironment\)", sources, re.MULTILINE)) == [
        each.__name__ for each in documented
    ]
    for settings in documented:
        for name in (*(field.name for field in fields(settings)), *settings.former_names.values()):
            assert f"`{settings.prefix}{name.upper()}`" in DEPLOYMENT


def test_every_file_of_the_readmes_tree_is_there() -> None:
    tree = README.split("```\napp.py", 1)[1].split("```", 1)[0]
    folder = ""
    for line in f"app.py{tree}".splitlines():
        names = re.match(r" *((?:[\w/]+(?:\.py|/)?(?:, )?)+)", line)
        assert names, line
        for name in names.group(1).split(", "):
            if not line.startswith(" "):
                folder = name if name.endswith("/") else ""
            path = ROOT / (name if not line.startswith(" ") else f"{folder}{name}")
            assert path.exists(), path


def test_publishing_as_documented(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()  # noqa: S607
    copy = tmp_path / "copy"
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    for private in ("data/HMDB_simp/golf/a.avi", "runs/mine/model.safetensors", ".venv/x", "hmdb/__pycache__/a.pyc"):
        (copy / private).parent.mkdir(parents=True, exist_ok=True)
        (copy / private).write_text("not for others")
    commands = re.findall(r"^hf (?:repos create|upload) .*$", DEPLOYMENT, re.MULTILINE)
    assert len(commands) == 2
    with HubServer() as hub:
        for command in commands:
            words = command.replace("OWNER/NAME", "newton/actions").replace('"', "").split()
            run = subprocess.run(
                [str(Path(sys.executable).with_name("hf")), *words[1:]],
                cwd=copy,
                env={**os.environ, **hub.environment(tmp_path / "cache")},
                capture_output=True,
                text=True,
                check=False,
            )
            assert run.returncode == 0, run.stderr
        published = hub.files("newton/actions", repo_type="space")
    assert set(tracked) == set(published)
    assert published["app.py"] == (ROOT / "app.py").read_bytes()
