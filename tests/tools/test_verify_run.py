"""`inv verify` reruns what follows training elsewhere, and names each output that differs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clone import Clone, of_scheme, tiny_run
from closure import ROOT

from powtwo.core import files
from powtwo.tools import verify

TRAIN = """
import json, pathlib, time
text = pathlib.Path("data/x").read_text()
pathlib.Path("models").mkdir(exist_ok=True)
pathlib.Path("metrics").mkdir(exist_ok=True)
pathlib.Path("logs").mkdir(exist_ok=True)
pathlib.Path("models/float").write_text(text + "SEED")
accuracy = {"validation_accuracy": 0.5, "test_accuracy": 0.5}
pathlib.Path("metrics/train.json").write_text(json.dumps(accuracy))
log = {"processor": "PROCESSOR", "threads": 2, "torch": "2"}
pathlib.Path("logs/train.json").write_text(json.dumps(log))
"""
AFTER = """
import pathlib
text = pathlib.Path("models/float").read_text()
for name in ("b", "a/c"):
    path = pathlib.Path("exports") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + name)
pathlib.Path("metrics/after.json").write_text("{}")
"""
STAGES = f"""
stages:
  after:
    cmd: python src/after.py
    deps: [src/after.py, models]
    outs: [exports]
    metrics: [metrics/after.json: {{cache: false}}]
  download:
    cmd: {sys.executable} -c "import os; os.mkdir('data'); open('data/x', 'w').write('x')"
    outs: [data/x]
  train:
    cmd: python src/train.py
    deps: [src/train.py, data/x]
    outs: [models/float]
    metrics: [metrics/train.json: {{cache: false}}]
"""


def command(root: Path, *words: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=root, env={**os.environ, "PATH": path}, check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project that has run: download, train and a stage after it."""
    root = tmp_path_factory.mktemp("made") / "project"
    texts = {"src/train.py": TRAIN, "src/after.py": AFTER, "dvc.yaml": STAGES, "params.yaml": "",
             ".gitignore": "/data\n/models\n/exports\n/logs\n"}  # fmt: skip
    for name, text in texts.items():
        files.write_text(root / name, text)
    command(root, "git", "init", "--quiet")
    dvc = (sys.executable, "-m", "dvc")
    command(root, *dvc, "init")
    shutil.copy(ROOT / ".dvc/config", root / ".dvc")
    command(root, *dvc, "repro")
    command(root, "git", "add", ".")
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "project")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    return tmp_path / "project"


def scratch(project: Path) -> list[Path]:
    """List what was left where the clean copy lay."""
    return list((project.parent / "scratch").iterdir())


@pytest.mark.slow
def test_what_is_equal_is_said_by_stage_and_in_total(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(project / "models")  # DVC's cache has it
    shutil.rmtree(project / "exports")
    assert verify.main([], project) == 0
    after, total = capsys.readouterr().out.splitlines()
    assert after.startswith("after: 2 outputs equal (")
    assert total == "2 of 2 outputs of 1 stages equal dvc.lock"
    assert scratch(project) == []
    assert not (project / "exports").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [('"a/c"', '"a/d"', ["exports"]), ('"{}"', '"{ }"', ["metrics/after.json"])],
)
def test_each_output_that_differs_is_named(
    old: str, new: str, paths: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = project / "src/after.py"
    script.write_text(script.read_text().replace(old, new))
    assert verify.main([], project) == 1
    after, total = capsys.readouterr().out.splitlines()
    assert after.startswith(f"after: {paths[0]} differs; 1 outputs equal (")
    assert total == f"1 of 2 outputs of 1 stages differ from dvc.lock; {verify.REMEDY}"
    assert scratch(project) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "line"),
    [
        ("rm -r models .dvc/cache/*", "models/float: neither the work tree nor DVC's cache has"),
        ("echo 'raise OSError(1)' > src/after.py", "after: failed: OSError: 1"),
        ("echo 'stages: [' > dvc.lock", "dvc.lock: broken, perhaps cut by a kill; run `inv repro`"),
        ("echo 'stages: {a: {}}' > dvc.lock", "dvc.lock: broken, perhaps cut by a kill; run"),
        ("rm dvc.lock", "PROJECT/dvc.lock: No such file or directory; correct the path"),
        ("rm -r .git; dvc config core.no_scm true", "git ls-files: fails here"),
    ],
)
def test_what_cannot_be_verified_is_told_in_one_line(
    break_it: str, line: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(project, "sh", "-c", break_it)
    with pytest.raises(SystemExit, match="^1$"):
        verify.main([], project)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"verify: {line}".replace("PROJECT", str(project)))
    assert scratch(project) == []


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["PROCESSOR", "another"])
def test_training_that_differs_counts_on_the_same_processor_alone(
    processor: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main(["--train"], project) == 0
    assert capsys.readouterr().out.startswith("train: 2 outputs equal\nafter: 2 outputs equal")
    log = files.read_json(project / "logs/train.json")
    files.write_json(project / "logs/train.json", log | {"processor": processor})
    script = project / "src/train.py"
    script.write_text(script.read_text().replace("SEED", "1"))
    differs = processor == "PROCESSOR"
    assert verify.main(["--train"], project) == differs
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: models/float differs; 1 outputs equal"
    assert lines[1:3] == [f"train: {key} 0.5 here, 0.5 in dvc.lock"
                          for key in ("validation_accuracy", "test_accuracy")]  # fmt: skip
    assert any("not counted, for dvc.lock's was trained on processor another, threads 2" in line
               for line in lines) != differs  # fmt: skip
    assert lines[-2].startswith("after: 2 outputs equal")  # from the recorded checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(number: int, status: int, project: Path) -> None:
    files.write_text(project / "src/after.py", "import time\ntime.sleep(60)\n")
    environment = os.environ | {
        "TMPDIR": str(project.parent / "scratch"), "PYTHONPATH": str(ROOT / "src"),
    }  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "powtwo.tools.verify"], cwd=project, env=environment,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with running:
        deadline = time.monotonic() + 60
        while not list(project.parent.glob("scratch/*/models/float")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        running.send_signal(number)
        _, said = running.communicate(timeout=30)
    assert running.returncode == status
    assert said.count("\n") <= 1
    assert scratch(project) == []


def test_a_folders_md5_is_dvcs(tmp_path: Path) -> None:
    """The md5 of a JSON list of md5 and path, worked by hand with md5sum."""
    for name in ("b", "a/c"):
        files.write_text(tmp_path / name, "x")
    one = "9dd4e461268c8034f5c8564e155c67a6"
    entries = json.dumps([{"md5": one, "relpath": "a/c"}, {"md5": one, "relpath": "b"}])
    files.write_text(tmp_path.parent / "list", entries)
    assert verify.digest(tmp_path) == verify.digest(tmp_path.parent / "list") + ".dir"
    assert verify.digest(tmp_path / "nothing") == ""


@pytest.mark.pipeline
def test_the_pipeline_verifies_itself(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stage by stage, with an observer changed: its outputs differ, and others do not."""
    clone: Clone = tiny_run(tmp_path_factory).copy(tmp_path / "copy")
    clone.run("git", "add", ".")
    clone.environment["PYTHONPATH"] = str(clone.root / "src")
    task = (sys.executable, "-m", "powtwo.tools.verify")
    clone.edit_params(lambda values: values["schemes"]["lab"]["weights"].update(clamp=[-3, 0]))
    done = clone.run(*task)
    assert done.returncode == 1, done.stderr
    *lines, total = done.stdout.splitlines()
    verdicts = dict(line.split(": ", 1) for line in lines)
    assert set(of_scheme("minmax-ceil")) | {"evaluate-float"} <= set(verdicts)
    assert "models/calibrated/lab.safetensors differs" in verdicts["calibrate@lab"]
    for stage in [*of_scheme("minmax-ceil"), "evaluate-float"]:
        assert "differs" not in verdicts[stage]
    assert "differ from dvc.lock" in total
