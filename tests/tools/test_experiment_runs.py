"""Experiments and sweeps run, on a pipeline that takes no time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_pipeline import SmallPipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SmallPipeline(tmp_path_factory.mktemp("made")).root.parent


@pytest.fixture
def small(made: Path, tmp_path: Path) -> SmallPipeline:
    return SmallPipeline(Path(shutil.copytree(made, tmp_path / "copy")), make=False)


def wait_for(what: Callable[[], object]) -> None:
    for _ in range(1200):
        if what():
            return
        time.sleep(0.05)
    raise TimeoutError


def test_an_experiment_has_what_is_not_committed_and_leaves_the_work_tree(
    small: SmallPipeline,
) -> None:
    small.write("src/new.py", "factor = 1000\n")
    code = small.root / "src/compare.py"
    code.write_text("import new\n" + code.read_text().replace("/ 1000", "/ new.factor"))
    (small.root / "src/old.py").unlink()
    before = small.state()
    said = small.tool("one", "try", "-s", "seed=3", "-s", "train.epochs=7").stdout
    assert said.splitlines()[-1].startswith(
        "try: of the highest validation accuracy: lab, 98.30% validation, 98.30% test; "
    )
    assert "applied to your workspace" not in said
    assert small.state() == before
    assert small.experiments() == ["try"]
    assert small.ran() == ["seed 3", "trained 7"]
    assert not [path for path in (small.root / ".dvc/tmp/experiments").iterdir() if path.is_dir()]
    assert "try" in small.run("dvc", "exp", "show", "--csv").stdout
    taken = small.tool("one", "try", "-s", "seed=4", code=1).stderr
    assert taken == (
        "exp: try: there is such an experiment; choose another name, or `dvc exp remove try`\n"
    )
    # Git has the metrics, and the shared cache the outputs.
    small.run("dvc", "exp", "apply", "try")
    assert (small.root / "models/float.txt").read_text() == "7"
    assert "seed: 3  # no unit" in (small.root / "params.yaml").read_text()
    assert (small.root / "src/new.py").is_file()
    small.run("dvc", "exp", "branch", "try", "tried")
    tracked = small.git("ls-tree", "-r", "--name-only", "tried").split()
    assert {"src/new.py", "src/old.py", "dvc.lock"} & set(tracked) == {"src/new.py", "dvc.lock"}
    assert small.ran() == []


def test_a_sweep_goes_on_after_a_failure_and_resumes(small: SmallPipeline) -> None:
    small.write("points.yaml", "grid: {seed: [1, 13, 2], train.epochs: [4]}\n")
    listed = small.sweep("--dry-run")
    assert [row[0] for row in listed] == ["1", "2", "3"]
    assert small.experiments() == []
    rows = small.sweep(code=1)
    assert [row[4] for row in rows] == ["done", "failed", "done"]
    assert rows[0][2:4] == ["seed=1", "train.epochs=4"]
    assert rows[0][-3:] == ["lab", "98.10%", "98.10%"]
    assert "compare: seed = 13: unlucky; choose another; log: logs/experiments/" in " ".join(
        rows[1]
    )
    log = small.root / f"logs/experiments/{rows[1][1]}.log"
    assert "Running stage 'compare'" in log.read_text()
    assert small.ran() == ["seed 1", "seed 13", "seed 2", "trained 4"]  # trained once
    # Again: what is done is not run, what failed is.
    rows = small.sweep(code=1)
    assert [row[4] for row in rows] == ["done", "failed", "done"]
    assert small.ran() == ["seed 13"]
    # Other base parameters make other points, a line in a page does not.
    small.write("README.md", "more\n")
    assert small.sweep("--part", "1/2")[0][4] == "done"
    text = (small.root / "params.yaml").read_text()
    (small.root / "params.yaml").write_text(text.replace("patience: 10", "patience: 9"))
    assert [row[4] for row in small.sweep("--dry-run")] == ["waiting"] * 3


def test_what_another_run_does_to_the_cache_costs_an_attempt(small: SmallPipeline) -> None:
    small.tool("one", "first")
    assert small.ran() == ["seed 0", "trained 4"]
    entries = [path / "moved" for path in small.root.glob(".dvc/cache/runs/*/*")]
    for entry in entries:  # DVC lists them, and finds nothing there
        entry.symlink_to("nowhere")
    log = small.root / "logs/experiments/second.log"
    running = small.start("one", "second", "-s", "seed=2")
    wait_for(lambda: log.exists() and "No such file" in log.read_text())
    for entry in entries:
        entry.unlink()
    running.communicate()
    assert running.returncode == 0
    assert small.ran() == ["seed 2"]  # trained before
    assert small.experiments() == ["first", "second"]
    for entry in entries:
        entry.symlink_to("nowhere")
    said = small.tool("one", "third", "-s", "seed=3", code=1).stderr
    assert said.startswith("exp: third: failed to reproduce 'train': [Errno 2] No such file")


def test_a_stage_that_fails_is_not_tried_again(small: SmallPipeline) -> None:
    small.write("src/compare.py", "import os, sys\n"
                "print('seed', file=open(os.environ['TRACE'], 'a'))\n"
                "sys.exit('ERROR: said by a stage')\n")  # fmt: skip
    said = small.tool("one", "fails", code=1).stderr
    assert said == "exp: fails: said by a stage; log: logs/experiments/fails.log\n"
    assert small.ran() == ["seed", "trained 4"]


def test_what_no_other_attempt_would_change_is_not_tried_again(small: SmallPipeline) -> None:
    text = (small.root / "dvc.yaml").read_text(encoding="utf-8")
    small.write("dvc.yaml", text.replace("outs: [", "outs: [models/never.txt, "))
    said = small.tool("one", "fails", code=1).stderr
    assert said == (
        "exp: fails: failed to reproduce 'train': output 'models/never.txt' does not exist; "
        "log: logs/experiments/fails.log\n"
    )
    assert small.ran() == ["trained 4"]


def test_every_point_is_checked_before_the_first_runs(small: SmallPipeline) -> None:
    small.write("points.yaml", "points:\n  - {seed: 1}\n  - {seed: 2, train.epoch: 3}\n")
    refused = small.tool("sweep", "points.yaml", code=1)
    assert refused.stderr == (
        "sweep: points.yaml: point 2 (seed=2 train.epoch=3): train.epoch = 3: unknown key; "
        "did you mean 'epochs'?\n"
    )
    small.write("points.yaml", "grid: {train.learning_rate: [1e-3, 0.001]}")
    refused = small.tool("sweep", "points.yaml", code=1)
    assert "is the same as point 1; leave one" in refused.stderr
    assert small.ran() == []


def test_two_workers_share_the_points_of_a_sweep(small: SmallPipeline) -> None:
    small.write("points.yaml", "grid: {seed: [1, 13, 2, 3]}\n")
    workers = [small.start("sweep", "points.yaml") for _ in range(2)]
    said = [worker.communicate() for worker in workers]
    assert 1 in [worker.returncode for worker in workers]
    assert all(not stderr for _, stderr in said)
    assert [line for line in small.ran() if line.startswith("seed")] == [
        "seed 1", "seed 13", "seed 2", "seed 3",
    ]  # fmt: skip
    assert len(small.experiments()) == 3


def test_a_killed_worker_loses_its_point_alone(small: SmallPipeline) -> None:
    small.write("points.yaml", "grid: {seed: [1, 2]}\n")
    small.sweep("--part", "1/2")
    small.ran()
    small.gate.touch()
    killed = small.start("sweep", "points.yaml")
    wait_for(small.trace.exists)
    clones = small.root / ".dvc/tmp/experiments"
    assert [row[3] for row in small.sweep("--dry-run")] == ["done", "running"]
    killed.kill()
    killed.communicate()
    assert any(path.is_dir() for path in clones.iterdir())
    assert [row[3] for row in small.sweep("--dry-run")] == ["done", "waiting"]
    small.environment["TRACE"] += "-again"  # its gate is open, that of the killed run's stage not
    again = small.tool("sweep", "points.yaml")
    assert "removed the clone of a killed run" in again.stderr
    assert again.stdout.count(" done ") == 2
    assert small.ran() == ["seed 2"]
    assert Path(small.environment["TRACE"]).read_text(encoding="utf-8") == "seed 2\n"
    assert not [each for each in psutil.process_iter(["cmdline"])
                if "src/compare.py" in (each.info["cmdline"] or ())
                and each.environ().get("TRACE") == str(small.trace)]  # fmt: skip
    assert not any(path.is_dir() for path in clones.iterdir())


def test_a_worker_that_is_told_to_stop_ends_its_stage(small: SmallPipeline) -> None:
    small.write("points.yaml", "grid: {seed: [1]}\n")
    small.gate.touch()
    stopped = small.start("sweep", "points.yaml")
    wait_for(lambda: small.trace.exists() and "seed" in small.trace.read_text())
    stopped.terminate()
    _, said = stopped.communicate()
    assert said == "sweep: stopped; run it again\n"
    assert stopped.returncode == 143
    assert not any(path.is_dir() for path in (small.root / ".dvc/tmp/experiments").iterdir())
    assert small.experiments() == []


def test_the_leaderboard_compares_what_git_has(small: SmallPipeline) -> None:
    nothing = small.tool("leaderboard", code=1).stderr
    assert nothing == (
        "leaderboard: nothing is measured here yet; run `inv repro`, or `inv exp NAME`\n"
    )
    small.tool("one", "four", "-s", "schemes.lab.weights.bits=4")
    small.tool("one", "seed", "-s", "seed=5")
    small.run("dvc", "repro", "--quiet")
    small.commit()
    columns = ("experiment", "scheme", "validation_accuracy")
    assert [tuple(map(row.get, columns)) for row in small.table()] == [
        ("seed", "lab", "0.985"), ("HEAD", "lab", "0.98"), ("four", "lab", "0.94"),
    ]  # fmt: skip
    text = small.tool("leaderboard", "--sort", "energy_ratio").stdout.splitlines()
    assert text[0].split("  ")[0] == "experiment"
    assert [line.split()[0] for line in text[1:]] == ["four", "HEAD", "seed"]
    table = small.tool("leaderboard", "--markdown", "--scheme", "minmax-round").stdout
    assert "| seed | minmax-round | 98.50% | 98.50% | 4.00 | 1.50 |" in table
