"""The directions of imports: app.py -> hmdb <- finetune, and within each from the upper floors to the lower."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# From the ground up. A room imports from lower floors only; rooms of one floor do not know each other.
FLOORS = {
    "hmdb": (
        ("errors", "cancellation", "version"),
        ("text", "settings", "machine"),
        ("video",),
        ("clips",),
        ("timeline",),
        ("results", "teaching"),
        ("model",),
        ("explain", "export", "figures", "long_video"),
        ("recognizer",),
        ("batch_inference",),
        ("cli", "page"),
        ("__main__",),
    ),
    "hmdb.page": (
        ("settings", "server"),
        ("views",),
        ("service",),
        ("tabs",),
        ("api", "launch"),
        ("layout",),
    ),
    "finetune": (
        ("config", "run_dir"),
        ("data",),
        ("models", "evaluation"),
        ("training",),
        ("distillation", "report"),
        ("hub", "jobs"),
        ("cli",),
        ("__main__",),
    ),
}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it, with dots."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module(path: Path) -> str:
    """
    >>> module(ROOT / "hmdb" / "clips" / "clip.py")
    'hmdb.clips.clip'
    """
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module(path): path for package in ("hmdb", "finetune") for path in sorted((ROOT / package).rglob("*.py"))}
IMPORTS = {
    name: {
        next((known for known in (target, target.rpartition(".")[0]) if known in FILES), target)
        for target in imports(path)
    }
    for name, path in FILES.items()
}


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in FLOORS for name in FILES if name.startswith(f"{package}.")]
)
def test_a_room_imports_from_lower_floors_only(package: str, name: str) -> None:
    def room(module: str) -> str:
        return module.removeprefix(f"{package}.").split(".")[0]

    floor = {each: number for number, rooms in enumerate(FLOORS[package]) for each in rooms}
    for target in IMPORTS[name]:
        if target.startswith(f"{package}.") and room(target) != room(name):
            assert floor[room(target)] < floor[room(name)], f"{name} imports {target}"


def test_no_import_leads_in_a_circle() -> None:
    known = {name: {target for target in targets if target in FILES} - {name} for name, targets in IMPORTS.items()}
    tuple(TopologicalSorter(known).static_order())  # raises CycleError, which names the circle


def test_the_drawn_tree_of_errors_is_complete() -> None:
    """The tree in the docstring of hmdb/errors.py is that of the code."""
    parents = {
        node.name: base.id
        for path in FILES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id.endswith("Error")
    }
    tree = ast.get_docstring(ast.parse(FILES["hmdb.errors"].read_text(encoding="utf-8"))) or ""
    drawn: dict[str, str] = {}
    above = ["HmdbError"]
    for branch, name in re.findall(r"^ *((?:\|   |    )*[|`]-- )(\w+Error)", tree, re.MULTILINE):
        depth = len(branch) // 4
        drawn[name] = above[depth - 1]
        above[depth:] = [name]

    def is_ours(name: str) -> bool:
        return name == "HmdbError" or (name in parents and is_ours(parents[name]))

    assert drawn == {name: parent for name, parent in parents.items() if is_ours(parent)}


def test_the_two_front_doors_do_not_know_each_other() -> None:
    for name, targets in IMPORTS.items():
        foreign = {"app", "hmdb.page"} if name.startswith("finetune") else {"app", "finetune"}
        for target in targets:
            assert not any(target == each or target.startswith(f"{each}.") for each in foreign), (name, target)
    assert not any(target.split(".")[0] == "finetune" for target in imports(ROOT / "app.py"))


def test_plain_training_knows_no_teacher() -> None:
    reached: set[str] = set()
    waiting = ["finetune.jobs.train"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [target for target in IMPORTS[name] if target in FILES and target not in reached]
    assert "finetune.training.trainer" in reached
    assert not [name for name in reached if name.startswith("finetune.distillation")]


def test_only_the_page_knows_gradio() -> None:
    for name, targets in IMPORTS.items():
        if name.split(".")[:2] != ["hmdb", "page"]:
            assert not {"gradio", "gradio_client", "spaces"} & {target.split(".")[0] for target in targets}, name


def test_only_the_worker_decodes() -> None:
    confined = {name for name in FILES if name.startswith("hmdb.video.worker.")}
    for name, targets in IMPORTS.items():
        packages = {target.split(".")[0] for target in targets}
        if name.startswith("hmdb.video") and name not in confined:
            assert not packages & {"av", "decord"}, name
        if name not in confined:
            assert not targets & {"hmdb.video.worker", *confined}, name
        assert "decord" not in packages or name in confined, name


def test_importing_the_page_reads_no_settings_and_builds_nothing() -> None:
    code = (
        "import importlib, pkgutil, gradio, hmdb.page\n"
        "for found in pkgutil.walk_packages(hmdb.page.__path__, 'hmdb.page.'):\n"
        "    importlib.import_module(found.name)\n"
        "assert gradio.context.Context.root_block is None\n"
    )
    environment = {**os.environ, "HMDB_CONCURRENCY": "none", "HMDB_DECODE_SECONDS": "soon", "HMDB_MODEL": "no/model"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("hmdb", "torch"), ("hmdb.cli", "torch"), ("hmdb.video", "decord"), ("hmdb.video", "av"), ("app", "torch")],
)
def test_light_modules_stay_light(module: str, heavy: str) -> None:
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
