"""The layout: which package may import which, and that code and table agree."""

from __future__ import annotations

import importlib

import pytest
from closure import ROOT, SOURCE, imported, package

import powtwo

BELOW_TRAINING = {"core", "dataset", "network"}
BELOW_CALIBRATION = BELOW_TRAINING | {"integer", "engine", "conversion"}
MAY_IMPORT = {  # the one place that says it
    "core": set(),
    "dataset": {"core"},
    "sources": {"core", "dataset"},
    "network": {"core", "dataset"},
    "training": BELOW_TRAINING,
    "integer": {"core", "dataset"},
    "engine": {"core", "integer"},
    "conversion": {"core", "dataset", "network", "integer"},
    "calibration": BELOW_CALIBRATION,
    "finetuning": BELOW_CALIBRATION | {"calibration", "training"},
    "evaluation": BELOW_CALIBRATION,
    "energy": {"core", "integer"},
    "export": {"core", "dataset", "integer"},
    "report": {"core"},
    "pt2e": {"core", "network", "integer", "conversion", "calibration"},
}
ANYTHING = {"sidecar", "tools"}  # and no package imports these two
PACKAGES = sorted(p.stem for p in (SOURCE / "powtwo").iterdir() if p.is_dir() or p.stem == "pt2e")


@pytest.mark.parametrize(
    "name", [name for name in PACKAGES if name not in ANYTHING | {"__pycache__"}]
)
def test_imports_go_in_one_direction(name: str) -> None:
    folder = SOURCE / "powtwo" / name
    for path in folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
        found = {package(file) for file in imported(path)} - {name}
        assert found <= MAY_IMPORT[name], path.relative_to(ROOT)


def test_each_package_has_a_line_that_says_what_it_is() -> None:
    lines = [
        line.split()[0] for line in (powtwo.__doc__ or "").splitlines() if line.startswith("    ")
    ]
    assert sorted(lines) == [name for name in PACKAGES if name != "__pycache__"]


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "pt2e"])
def test_public_names_can_be_imported_from_the_package(name: str) -> None:
    module = importlib.import_module(f"powtwo.{name}")
    modules = {path.stem for path in (SOURCE / "powtwo" / name).iterdir()}
    for public in getattr(module, "__all__", []):
        assert getattr(module, public) is not None
        assert public not in modules, "a module of this name would hide it"
