"""A training run that was killed resumes, and ends with the bytes of one that was not."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from training_runs import KILLED, ROOT, STATEFUL, edit, outputs, run, workplace

from powtwo.core import files, stages
from powtwo.dataset.images import Dataset
from powtwo.training.checkpoints import Checkpoints, depends_on

EPOCHS = 6  # of 7 steps
KILLS = [  # where, the epochs that are saved by then, the epochs that were printed by that run
    ("step 10", 1, [1]),
    ("saving 2", 2, [2]),
    ("saved 1", 3, []),
    ("outputs 1", EPOCHS, [4, 5, 6]),
]


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: tuple[Path, str]
) -> None:
    folder = workplace(tmp_path / "killed", epochs=EPOCHS, **STATEFUL)
    saved_before = 0
    curves = folder / "plots/training.csv"
    for kill, saved, printed in KILLS:
        curves.unlink(missing_ok=True)  # as DVC does
        process = run(folder, KILLED, KILL=kill)
        assert process.returncode == -signal.SIGKILL, process.stderr
        lines = process.stdout.splitlines()
        if saved_before:
            assert lines.pop(0).endswith(f".pt: goes on after epoch {saved_before}")
        assert [line.split(":")[0] for line in lines] == [f"epoch {n}/{EPOCHS}" for n in printed]
        rows = curves.read_text().splitlines()
        # The curves are there meanwhile, those of before from the start: an epoch may take minutes.
        assert len(rows) == 1 + max([saved_before, *printed])
        saved_before = saved
    (checkpoint,) = (folder / "checkpoints").iterdir()  # half of one is removed at the next start
    assert checkpoint.suffix == ".pt"
    curves.unlink()
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(f".pt: goes on after epoch {EPOCHS}\n")
    assert outputs(folder) == outputs(undisturbed[0])
    assert not list((folder / "checkpoints").iterdir())
    # The time before the kill is not forgotten either.
    assert files.read_json(folder / "logs/train.json")["earlier_seconds"] > 0


# Without a process: which checkpoint a run resumes from


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace(tmp_path / "run", precision="auto"))


def fingerprint(stage: Any) -> dict[str, str]:
    values = stages.read_params()
    params, of_stage = stage.Reads.read(values), stages.fingerprint("train", stage.Reads, values)
    return depends_on(params.train, Dataset.load("data/dataset.npz"), of_stage)


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("seed", 1, "params.yaml: seed"),
        ("data.normalize", "standard", "params.yaml: data.normalize"),
        ("model.hidden", [7], "params.yaml: model"),
        ("train.threads", 1, "params.yaml: train"),
    ],
)
def test_the_checkpoint_of_other_parameters_is_left_alone(
    stage: Any, capsys: pytest.CaptureFixture[str], key: str, value: Any, name: str
) -> None:
    Checkpoints(fingerprint(stage)).write({"history": []})
    (path,) = Path("checkpoints").iterdir()
    before = path.read_bytes()
    edit(Path(), key, value)
    other = Checkpoints(fingerprint(stage))
    assert other.read() is None
    assert capsys.readouterr().out == f"{path}: not used, as it differs in {name}\n"
    other.write({"history": []})
    other.remove()
    assert path.read_bytes() == before  # for when its parameters come back


def other_images(tmp_path: Path, _: pytest.MonkeyPatch) -> None:
    other = workplace(tmp_path / "other", training_images=64)
    shutil.copy(other / "data/dataset.npz", "data/dataset.npz")


def other_code(tmp_path: Path, _: pytest.MonkeyPatch) -> None:
    with (tmp_path / "src/powtwo/training/history.py").open("a") as code:
        code.write("# changed\n")


def other_instructions(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX-512 alone does not tell whether `auto` is bfloat16."""
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)


def other_processor(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("powtwo.training.devices.processor", lambda: "another")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_images, "the images"),
        (other_code, "src/powtwo/training/history.py"),
        (other_instructions, "the precision"),
        (other_processor, "the processor"),
    ],
)
def test_other_images_code_or_processor_are_another_run(
    stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, name: str
) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.setattr("powtwo.core.stages.ROOT", tmp_path)
    monkeypatch.setattr("powtwo.training.devices.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    before = fingerprint(stage)
    change(tmp_path, monkeypatch)
    after = fingerprint(stage)
    assert {key for key in before if before[key] != after[key]} == {name}
