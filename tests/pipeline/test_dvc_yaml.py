"""What dvc.yaml says of a stage is what its script does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml
from closure import ROOT, import_closure

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def definition(stage: str) -> dict:
    return STAGES[stage].get("do", STAGES[stage])


def script(stage: str) -> Path:
    return ROOT / definition(stage)["cmd"].split()[1]


NO_DEPENDENCY = frozenset({"sidecar"})  # imported by every stage, and no byte depends on it
MOST_ENTRIES = 10  # of code a stage


def code(stage: str) -> list[str]:
    """List the dependencies of a stage that are code."""
    return [dep for dep in definition(stage)["deps"] if dep.startswith("src/")]


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_lies_under_its_deps_and_every_dep_is_imported_from(
    stage: str,
) -> None:
    files = import_closure(script(stage), without=NO_DEPENDENCY)
    deps = code(stage)
    under = {dep: {file for file in files if f"{file}/".startswith(f"{dep}/")} for dep in deps}
    assert set().union(*under.values()) == files
    assert all(under.values()), under
    assert len(deps) <= MOST_ENTRIES
    assert all((ROOT / dep).is_dir() for dep in deps if dep.startswith("src/powtwo"))


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_keys_that_the_script_reads(stage: str) -> None:
    spec = importlib.util.spec_from_file_location(f"stage_{stage}", script(stage))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.Reads.keys("${key}") == definition(stage)["params"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_output_is_ignored_by_git_or_measured_by_it(stage: str) -> None:
    for out in definition(stage).get("outs", []):
        assert isinstance(out, str), "an out is cached"
    for kind in ("metrics", "plots"):  # `outs` without a cache would lose the run-cache
        for entry in definition(stage).get(kind, []):
            ((path, options),) = entry.items()
            assert options["cache"] is False
            # JSON files that DVC is not to compare stand under `plots`, which draws none of them.
            assert path.startswith("plots/" if path.endswith((".csv", ".png")) else "metrics/")
