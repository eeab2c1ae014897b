"""The wheel, installed where nothing else is: the library and its command, without the extras."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building leaves files behind."""
    copy, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    for name in tracked.split():
        if name.startswith(("hmdb/", "finetune/")) or name in {"pyproject.toml", "README.md", "LICENSE"}:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(copy))
    (built,) = target.glob("*.whl")
    return built


def pip(python: str | Path, *arguments: str) -> None:
    run = subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", *arguments], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_wheel_contains_packages_types_and_bundled_checkpoint(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("hmdb/py.typed", "finetune/py.typed", "hmdb/bundled/model.safetensors", "hmdb/bundled/README.md"):
        assert name in names
    assets = [*(ROOT / "hmdb/page/views/static").iterdir(), *(ROOT / "hmdb/page/views/templates").iterdir()]
    assert {path.relative_to(ROOT).as_posix() for path in assets} <= names
    assert not any(name.startswith(("tests/", "benchmarks/", "examples/")) for name in names)


@pytest.mark.slow
def test_installed_package_works_without_gradio_and_tensorboard(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    folder = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    pip(folder / "python", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel))
    video = str(ROOT / "examples/golf.mp4")
    code = (
        "import importlib.util as u\n"
        "extras = ('gradio', 'pandas', 'tensorboard', 'sklearn', 'accelerate')\n"
        "assert not [name for name in extras if u.find_spec(name)]\n"
        "import hmdb\n"
        "print(hmdb.Recognizer.from_pretrained().explain('golf.mp4').prediction.label)\n"
    )
    subprocess.run(
        [str(folder / "python"), "-c", code.replace("golf.mp4", str(ROOT / "examples/golf.mp4"))], check=True
    )
    run = subprocess.run([str(folder / "hmdb"), video], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "golf" in run.stdout
