"""What dvc.yaml says of a stage is what its script does."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

import pytest
import yaml
from closure import ROOT, import_closure
from dvc.utils.serialize import load_yaml

from powtwo.params import select

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def definition(stage: str) -> dict:
    return STAGES[stage].get("do", STAGES[stage])


def script(stage: str) -> Path:
    return ROOT / definition(stage)["cmd"].split()[1]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_import_closure(stage: str) -> None:
    listed = [dep for dep in definition(stage)["deps"] if dep.endswith(".py")]
    assert listed == sorted(import_closure(script(stage))), f"write these under {stage}: deps"


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_keys_that_the_script_reads(stage: str) -> None:
    tree = ast.parse(script(stage).read_text(encoding="utf-8"))
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "stage"
    ]
    keys = [ast.unparse(key).strip("f'").replace("{scheme}", "${key}") for key in call.args[1:]]
    assert keys == definition(stage)["params"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_output_is_ignored_by_git_or_measured_by_it(stage: str) -> None:
    for out in definition(stage).get("outs", []):
        assert isinstance(out, str), "an out is cached"
    for kind in ("metrics", "plots"):
        for entry in definition(stage).get(kind, []):
            ((path, options),) = entry.items()
            assert options["cache"] is False
            assert path.startswith(f"{kind}/")


LOCK = load_yaml(str(ROOT / "dvc.lock"))["stages"]  # DVC's YAML 1.2 writes 1e-06 for a float


def _digest(path: Path) -> str:
    """Return DVC's hash of a file, or of a folder: that of a list of its files and theirs."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = [{"md5": _digest(file), "relpath": file.relative_to(path).as_posix()}
              for file in files]  # fmt: skip
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


@pytest.mark.parametrize("stage", LOCK)
def test_the_lock_is_of_this_code_and_these_parameters(stage: str) -> None:
    """Whoever clones gets figures that the committed code made: else run `inv repro`."""
    for dep in LOCK[stage]["deps"]:
        path = ROOT / dep["path"]
        if dep["path"].startswith("src/"):
            assert _digest(path) == dep["md5"], dep["path"]
    values = load_yaml(str(ROOT / "params.yaml"))
    for key, value in LOCK[stage].get("params", {}).get("params.yaml", {}).items():
        assert value == select(values, key), key


@pytest.mark.parametrize("stage", LOCK)
def test_the_committed_metrics_and_plots_are_those_of_the_lock(stage: str) -> None:
    for out in LOCK[stage].get("outs", []):
        if out["path"].startswith(("metrics/", "plots/")):
            content = (ROOT / out["path"]).read_bytes()
            assert hashlib.md5(content).hexdigest() == out["md5"], out["path"]


def test_every_stage_is_locked() -> None:
    names = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    each = {"export": names["export"]["schemes"]}
    expected = [
        f"{stage}@{name}" if "foreach" in STAGES[stage] else stage
        for stage in STAGES
        for name in (each.get(stage, names["schemes"]) if "foreach" in STAGES[stage] else [""])
    ]
    assert sorted(LOCK) == sorted(expected)
