"""What only a GPU can tell of training. `benchmarks/gpu.sh` runs it; elsewhere it is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from training_runs import ALL_ON, STATEFUL
from training_runs import dataset as make_dataset
from training_runs import fit as fit_on_cpu

from powtwo.core.stages import repeatable
from powtwo.training import graph, loop
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.loop import TrainingRun
from powtwo.training.steps import EagerSteps

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU"),
    pytest.mark.filterwarnings("default"),  # compilers warn of much
]
DATASET = make_dataset(100, wrong_labels=0.0)
ADAM = {"optimizer": "adam", "nesterov": False, "learning_rate": 0.001}
RECIPES = [{}, STATEFUL, ADAM | {"average": 0.9, "augment": ALL_ON}]


@pytest.fixture(autouse=True)
def _as_the_stage() -> Iterator[None]:
    mode = torch.get_deterministic_debug_mode()
    repeatable(0)
    yield
    torch.set_deterministic_debug_mode(mode)


@pytest.fixture(params=["captured", "captured, compiled"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "captured, compiled":
        monkeypatch.setattr(graph, "COMPILE_FROM", 0)
    return str(request.param)


def fit(**changes: Any) -> Any:
    return fit_on_cpu(DATASET, device="cuda", **changes)[1]


def log_of(monkeypatch: pytest.MonkeyPatch, steps: Any, **changes: Any) -> tuple[str, torch.Tensor]:
    """Return the kind of the steps, and what those of the first epoch gave."""
    logs, take = [], steps.__call__

    def spy(*arguments: Any) -> torch.Tensor:
        logs.append(take(*arguments))
        return logs[-1]

    with monkeypatch.context() as patched:
        patched.setattr(steps, "__call__", spy)
        if steps is EagerSteps:
            patched.setattr(loop, "capture_steps", lambda *_: False)
        result = fit(epochs=1, precision="float32", **changes)
    return result.steps, logs[0].double().cpu()


@pytest.mark.parametrize("changes", RECIPES)
def test_first_losses_equal_eager_ones_within_rounding(
    monkeypatch: pytest.MonkeyPatch, kind: str, changes: dict[str, Any]
) -> None:
    _, eager = log_of(monkeypatch, EagerSteps, **changes)
    ours_kind, ours = log_of(monkeypatch, graph.StaticSteps, **changes)
    assert (ours_kind, ours.shape) == (kind, (6, 3))
    torch.testing.assert_close(ours[:3, :2], eager[:3, :2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changes", RECIPES)
def test_bytes_repeat(
    kind: str, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = (fit(**changes) for _ in range(2))
    assert first.steps == kind, capsys.readouterr().err
    assert save(first.weights) == save(again.weights)
    assert first.history == again.history


@pytest.mark.parametrize("changes", [STATEFUL, STATEFUL | ADAM])
def test_a_resumed_run_ends_with_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    monkeypatch.setitem(loop.CHECKPOINT_SECONDS, "cuda", 0.0)
    undisturbed = fit(**changes)
    assert undisturbed.steps == kind
    epoch = TrainingRun.epoch

    def stops(run: TrainingRun) -> None:
        if len(run.history) == 2:
            raise KeyboardInterrupt
        epoch(run)

    saved = Checkpoints({"a": "b"}, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "epoch", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(checkpoints=saved, **changes)
    resumed = fit(checkpoints=saved, **changes)
    assert resumed.history == undisturbed.history
    assert save(resumed.weights) == save(undisturbed.weights)
