"""The directions of imports: data flows one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = {
    "errors": -1,  # the ground that all stand on
    "labels": 0,
    "clip": 0,
    "limits": 0,
    "calibration": 1,
    "int8": 1,
    "memory": 0,
    "sampling": 1,
    "timeline": 1,
    "video": 1,
    "preprocess": 1,
    "processes": 1,
    "reader": 2,
    "attention": 2,
    "engine": 2,
    "figures": 2,
    "model": 2,
    "preview": 2,
    "faithfulness": 3,
    "recognizer": 4,
    "cli": 5,
    "__main__": 6,
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def module(path: Path) -> str:
    return path.relative_to(ROOT / "hmdb").parts[0].removesuffix(".py")


LIBRARY = [
    path for path in sorted((ROOT / "hmdb").rglob("*.py")) if path.parent.name != "hmdb" or path.stem != "__init__"
]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_of_hmdb_imports_only_from_lower_floors(path: Path) -> None:
    here = module(path)
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in {"gradio", "app", "finetune", "spaces"}, f"{path.name} knows {name}"
        if parts[0] == "hmdb" and len(parts) > 1 and parts[1] != here:
            assert FLOORS[parts[1]] < FLOORS[here], f"{path.name} imports {name}"


def test_the_two_front_doors_do_not_know_each_other() -> None:
    for path in (ROOT / "finetune").rglob("*.py"):
        assert not {"gradio", "app"} & {name.split(".")[0] for name in imports(path)}, path
    assert "finetune" not in {name.split(".")[0] for name in imports(ROOT / "app.py")}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("hmdb", "torch"), ("hmdb.cli", "torch"), ("hmdb.video", "decord"), ("hmdb.video", "av"), ("app", "torch")],
)
def test_light_modules_stay_light(module: str, heavy: str) -> None:
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
