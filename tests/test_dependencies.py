"""Declared, imported and pinned dependencies agree."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
OURS = {"app", "benchmarks", "drawings", "finetune", "hmdb", "tests"}
# Installed by whoever has the machine for them: ZeroGPU, a teacher of images, rivals that are measured.
OPTIONAL = {
    "hmdb": {"spaces"},
    "finetune": {"efficientnet_lite_pytorch", "onnx"},
    "benchmarks": {"openvino", "torchcodec"},
}
EXTRAS = {
    "hmdb": [],
    "hmdb/page": ["page"],
    "hmdb/batch_inference": ["batch"],
    "hmdb/cli/batch.py": ["batch"],
    "hmdb/export.py": ["export"],
    "finetune": ["train"],
}


def imports(files: Iterable[Path]) -> set[str]:
    """Top-level names of other people's packages that the files import, wherever in them."""
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - OURS - set(sys.stdlib_module_names)


def declared(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def undeclared(modules: Iterable[str], names: set[str]) -> set[str]:
    """The modules that no declared distribution contains."""
    providers = packages_distributions()
    return {
        module
        for module in modules
        if not {canonicalize_name(name) for name in providers.get(module, [module])} & names
    }


@pytest.mark.parametrize("place", EXTRAS)
def test_each_import_is_declared_by_the_extra_of_its_folder(place: str) -> None:
    path = ROOT / place
    elsewhere = [ROOT / other for other in EXTRAS if other != place and (ROOT / other).is_relative_to(path)]
    files = [path] if path.is_file() else path.rglob("*.py")
    modules = imports(file for file in files if not any(file.is_relative_to(other) for other in elsewhere))
    extras = PROJECT["project"]["optional-dependencies"]
    names = declared([*PROJECT["project"]["dependencies"], *(line for name in EXTRAS[place] for line in extras[name])])
    assert modules
    assert undeclared(modules - OPTIONAL[place.partition("/")[0]], names) == set()


@pytest.mark.parametrize("folder", ["benchmarks", "drawings", "tests"])
def test_what_the_tests_and_benchmarks_import_is_declared_for_development(folder: str) -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [
        *PROJECT["project"]["dependencies"],
        *extras["page"],
        *extras["train"],
        *PROJECT["dependency-groups"]["dev"],
    ]
    modules = imports((ROOT / folder).rglob("*.py")) - OPTIONAL.get(folder, set())
    assert undeclared(modules, declared(lines)) == set()


def pins() -> Iterator[Requirement]:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield Requirement(line)


def locked() -> list[dict[str, Any]]:
    return [package for package in LOCK["package"] if "registry" in package["source"]]


def test_constraints_are_those_of_the_lock() -> None:
    assert {(pin.name, str(pin.specifier)) for pin in pins()} == {
        (package["name"], f"=={package['version']}") for package in locked()
    }


def ranges() -> list[str]:
    extras = PROJECT["project"]["optional-dependencies"]
    return [*PROJECT["project"]["dependencies"], *(line for name in extras for line in extras[name])]


def test_the_lock_is_of_this_pyproject() -> None:
    (ours,) = [package for package in LOCK["package"] if package["name"] == "hmdb"]
    development = PROJECT["dependency-groups"]["dev"]
    for recorded, written in (
        (ours["metadata"]["requires-dist"], ranges()),
        (ours["metadata"]["requires-dev"]["dev"], development),
    ):
        asked = [Requirement(line) for line in written]
        assert {(each["name"], SpecifierSet(each.get("specifier", ""))) for each in recorded} == {
            (canonicalize_name(each.name), each.specifier) for each in asked
        }


def test_the_lock_names_only_pypi() -> None:
    for package in locked():
        assert package["source"]["registry"] == "https://pypi.org/simple"
        for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]:
            assert file["url"].startswith("https://files.pythonhosted.org/packages/")
            assert file["hash"].startswith("sha256:")


def test_the_ranges_admit_the_pins() -> None:
    pinned = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins()}
    for requirement in map(Requirement, ranges()):
        if requirement.name != "hmdb":
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement
