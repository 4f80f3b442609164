"""`inv check` finds what is stale or broken in a work tree, and nothing where nothing is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from closure import ROOT
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from published_run import publish_as, write_run

from powtwo.core import files
from powtwo.tools import check
from powtwo.tools.docs import __main__ as docs
from powtwo.tools.docs import networks, pages, readme, screenshot

# dvc.lock


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    """Make a project whose one stage writes a metric and a cached model."""
    script = "import pathlib as p; [p.Path(n).write_text('1') for n in ('metrics/a', 'models/a')]"
    stage = f"""\
stages:
  train:
    foreach: ${{schemes}}
    do:
      cmd: {sys.executable} src/train.py
      deps: [src/train.py, src/powtwo/core]
      params: [seed]
      outs: ["models/${{key}}"]
      metrics: [{{"metrics/${{key}}": {{cache: false}}}}]
"""
    for name, text in {
        "src/powtwo/core/a.py": "1", "params.yaml": "seed: 0\nschemes: {a: 1}\n",
        "src/train.py": script, "metrics/.keep": "", "models/.keep": "", "dvc.yaml": stage,
    }.items():  # fmt: skip
        files.write_text(tmp_path / name, text)
    for command in (["init", "--no-scm"], ["repro"]):
        done = subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=False,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_what_is_not_the_lock_s_is_named(tracked: Path) -> None:
    (tracked / "models/a").unlink()  # as in a new clone: what is in no commit is no fault
    files.write_text(tracked / "src/powtwo/core/__pycache__/a.pyc", "x")
    files.write_text(tracked / "README.md", "x")
    assert list(check.lock(tracked)) == []
    files.write_text(tracked / "src/powtwo/core/a.py", "2")
    files.write_text(tracked / "metrics/a", "2")
    files.write_text(tracked / "params.yaml", "seed: 1\nschemes: {a: 1, b: 2}\n")
    faults = list(check.lock(tracked))
    assert [fault.partition(" since")[0] for fault in faults[:3]] == [
        "src/powtwo/core: modified", "params.yaml seed: modified", "metrics/a: modified",
    ]  # fmt: skip
    assert faults[0].endswith(" since dvc.lock was written by train@a; run `inv repro`")
    assert any(fault.startswith("metrics/b: deleted") for fault in faults)
    files.write_text(tracked / "params.yaml", "seed: 0\nschemes: {b: 1}\n")
    *_, fault = check.lock(tracked)
    assert fault == "dvc.lock: train@a: dvc.yaml has no such stage; run `inv prune`"


def test_what_dvc_cannot_say_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="^1$"):
        check.main(tmp_path)
    said = capsys.readouterr().err
    assert said.startswith("check: dvc status: ")
    assert said.count("\n") == 1


# Pages


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project whose pages have every passage, as `inv docs` writes it."""
    write_run(tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    runs = {readme.HEADLINE.name, readme.CALIBRATED.name, *networks.NETWORKS.values()}
    for run in sorted(runs):
        publish_as(tmp_path, run)
    for page, name, _ in pages.passages(tmp_path):
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        markers = f"<!-- {name}: begin --><!-- {name}: end -->\n"
        files.write_text(page, text + markers)
    docs.main(tmp_path)
    return tmp_path


def test_pages_are_current_until_what_they_show_changes(project: Path) -> None:
    assert list(check.passages(project)) == []
    write_run(project, accuracy=0.5)
    (fault,) = check.passages(project)
    assert fault == "docs/results.md: passage run: is not what its files hold; run `inv docs`"
    docs.main(project)
    assert list(check.passages(project)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("README.md", "top-1", "top-5", "README.md: passage headline: is not what its files hold"),
        ("docs/energy.md", "pJ", "J", "docs/energy.md: passage "),
        ("docs/training.md", "speed: begin", "spade: begin", "docs/training.md: passage speed: "),
        ("metrics/compare.json", '"energy_table"', '"table"', "docs/results.md: passage run: "),
    ],
)
def test_a_stale_or_broken_passage_is_named(
    project: Path, file: str, old: str, new: str, fault: str
) -> None:
    text = (project / file).read_text(encoding="utf-8")
    assert old in text
    files.write_text(project / file, text.replace(old, new))
    faults = list(check.passages(project))
    assert any(line.startswith(fault) for line in faults)
    assert all(line.endswith("; run `inv docs`") for line in faults)


# Published runs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Publish two seeds of a recipe."""
    publish_as(tmp_path, "x")
    publish_as(tmp_path, "x-seed1", seed=1)
    assert list(check.runs(tmp_path)) == []
    return tmp_path


@pytest.mark.parametrize(
    "file",
    ["run.json", "lab.safetensors", "params.yaml", "plots/schemes.csv", "metrics/train.json",
     "metrics/download.json", "metrics/compare.json", "metrics/evaluate/lab.json"],
)  # fmt: skip
@pytest.mark.parametrize("text", [None, "broken"])
def test_a_run_that_is_not_whole_is_named(runs: Path, file: str, text: str | None) -> None:
    path = runs / "results/x-seed1" / file
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    faults = list(check.runs(runs))
    assert any(fault.startswith("results/x-seed1: ") for fault in faults)
    assert all("\n" not in fault for fault in faults)


def test_runs_of_a_recipe_that_differ_in_more_than_the_seed_are_named(runs: Path) -> None:
    path = runs / "results/x-seed1/params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("epochs: ", "epochs: 1"))
    assert [fault.partition("; ")[0] for fault in check.runs(runs)] == [
        "results/x: results/x-seed1: has another train.epochs",
        "results/x-seed1: results/x: has another train.epochs",
    ]


def test_calibration_seeds_of_another_run_are_named(runs: Path) -> None:
    head = ("scheme", "metric", "seed_0")
    own = files.read_json(runs / "results/x/metrics/evaluate/lab.json")["accuracy"]
    files.write_csv(runs / "results/x/seeds.csv", head, [("lab", "accuracy", own)])
    assert list(check.runs(runs)) == []
    files.write_csv(runs / "results/x/seeds.csv", head, [("lab", "accuracy", own + 0.1)])
    (fault,) = check.runs(runs)
    assert fault.startswith("results/x: seeds.csv: has other figures than the run; ")


def test_the_exit_code_says_whether_all_is_well(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "lock", lambda _: [])
    monkeypatch.setattr(screenshot, "fault", lambda _: "")
    assert check.main(project) == 0
    assert capsys.readouterr().out == "dvc.lock, README, docs and results are current\n"
    (project / "results/cifar10-jpeg/run.json").unlink()
    assert check.main(project) == 1


def test_a_picture_of_another_report_is_named(tmp_path: Path) -> None:
    lock = {"stages": {"compare": {"outs": [{"path": "report/index.html", "md5": "1" * 32}]}}}
    files.write_text(tmp_path / "dvc.lock", yaml.safe_dump(lock))
    assert screenshot.fault(tmp_path).startswith("docs/report.png: no such file; run `inv docs")
    (tmp_path / "docs").mkdir()
    for md5, fault in (("1" * 32, ""), ("2" * 32, "docs/report.png: shows another report than")):
        about = PngInfo()
        about.add_text("report", md5)
        Image.new("L", (1, 1)).save(tmp_path / "docs/report.png", pnginfo=about)
        said = screenshot.fault(tmp_path)
        assert said.startswith(fault)
        assert bool(said) == bool(fault)


def test_a_generated_picture_that_is_stale_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screenshot, "fault", lambda _: "")
    assert list(check.pictures(project)) == []
    (project / "docs/headline.png").write_bytes(b"old")
    (fault,) = check.pictures(project)
    assert fault == "docs/headline.png: is not what its files hold; run `inv docs`"
