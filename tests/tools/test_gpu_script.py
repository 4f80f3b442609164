"""`benchmarks/gpu.sh` without a GPU: whatever happens, its last line is JSON and says what did."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from closure import ROOT

from powtwo.sidecar import schema

LOG = {"steps": "captured", "precision": "bfloat16", "gpu_peak_memory_mb": 700.0}
IMAGES = ["download", "source"]
METRICS = {"epochs_run": 2, "best_epoch": 1, "test_accuracy": 0.8}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "benchmarks/gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["gpu.py", str(tmp_path / "archive.zip")])
    return module


def run(command: list[str], folder: Path, **env: str) -> tuple[dict[str, Any], str]:
    """Stand in for each process: leave what it leaves, and print what it prints."""
    name = Path(command[0]).name
    if name == "download.py":
        assert env["POWTWO_DATA"].endswith("archive.zip")
        write(folder / "metrics/download.json", {"train_images": 100})
    elif name == "train.py":
        write(folder / "logs/train.json", LOG)
        write(folder / "metrics/train.json", METRICS)
        write(folder / "models/float.safetensors", folder.name)
    elif name == "-m":
        return {"ok": False, "seconds": 9.0}, "FAILED a::b - c\n1 failed, 7 passed in 8.10s\n"
    return {"ok": True, "seconds": 25.0}, '{"all_equal": true, "gpu": "a GPU"}\n'


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def report_of(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert gpu.main() == 1  # a part fails in each of these tests
    report: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return report


def test_all_parts_are_reported(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        gpu.Clock, "run", lambda _, command, folder, _limit, **env: run(command, folder, **env)
    )
    report = report_of(gpu, capsys)
    trained = {f"train {recipe}{again}" for recipe in gpu.RECIPES for again in ("", " again")}
    profiled = {f"profile {recipe}" for recipe in gpu.RECIPES}
    parts = trained | profiled | {"machine", "source", "download", "engines", "tests"}
    assert set(report) == parts | {"device", "goal_seconds"}
    lab = report["train cifar10-jpeg-lab again"]
    assert lab["same_bytes"]
    assert (lab["images_per_second"], lab["reaches_goal"]) == (2 * 100 / 25, False)
    assert lab | LOG | METRICS == lab
    assert report["engines"]["all_equal"]
    tests = report["tests"]
    assert (tests["passed"], tests["failed"], tests["failures"]) == (7, 1, ["FAILED a::b - c"])


def test_a_part_that_fails_does_not_stop_the_rest(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but the images' end at once here, as where a package is missing."""
    monkeypatch.setattr(gpu, "ROOT", ROOT)
    popen = subprocess.Popen

    def failing(command: list[str], **options: Any) -> subprocess.Popen[str]:
        images = any(word.endswith(("source.py", "download.py")) for word in command)
        return popen(["true" if images else "false"], **options)

    monkeypatch.setattr(subprocess, "Popen", failing)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name == "mlxtend" else name)
    report = report_of(gpu, capsys)
    assert report["missing"] == ["mlxtend"]
    parts = [part for part in report.values() if isinstance(part, dict)]
    assert len(parts) == 11
    assert [name for name, part in report.items() if part in parts and part["ok"]] == IMAGES


def test_without_images_or_a_gpu_nothing_else_is_tried(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"ok": True, "seconds": 1.0}, '{"gpu": null}\n'
    monkeypatch.setattr(gpu.Clock, "run", lambda *_, **__: said)
    assert "PyTorch sees no GPU" in report_of(gpu, capsys)["error"]
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu.Clock, "run", lambda *_, **__: ({"ok": False, "seconds": 1.0}, ""))
    report = report_of(gpu, capsys)
    assert "source failed" in report["error"]
    assert "download" not in report


def test_no_time_and_too_much_of_it_are_told(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "SECONDS", gpu.LEAST_SECONDS - 1)
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0)
    part, _ = gpu.Clock().run(["-c", "import time; time.sleep(60)"], tmp_path, 1)
    assert (part["ok"], part["error"]) == (False, "stopped after 1 s")
    monkeypatch.undo()
    monkeypatch.setattr(gpu, "SECONDS", gpu.LEAST_SECONDS - 1)
    assert gpu.Clock().run(["-c", ""], tmp_path, 60)[0] == {"ok": False, "error": "no time left"}


@pytest.mark.parametrize("recipe", ["cifar10-jpeg-lab", "cifar10-jpeg"])
def test_the_recipes_are_the_presets_(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recipe: str
) -> None:
    """Laid without ruamel.yaml, which a machine with a GPU may lack."""
    from powtwo.tools import presets

    monkeypatch.setattr(gpu, "EPOCHS", "")
    folder = gpu.workplace(tmp_path / "place", recipe)
    ours = schema.check(yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8")))
    theirs = presets.parameters(recipe, ROOT / "params.yaml", ROOT / "presets")
    same = {"device": "cuda", "threads": ours.train.threads}
    assert ours.train == theirs.train.model_copy(update=same)
    assert ours.data == theirs.data.model_copy(update={"sha256": None})
    assert (ours.model, ours.seed) == (theirs.model, theirs.seed)


def test_its_use_is_told() -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks/gpu.sh")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr[:7]) == (2, "usage: ")
