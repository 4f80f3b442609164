"""Captured steps, as far as a CPU can tell: the same bits as eager ones, and what a capture does.

What only a GPU can tell is in test_gpu.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save
from training_runs import ALL_ON, DYADIC, SMALL, STATEFUL, fit, recipe

from powtwo.dataset.images import Dataset
from powtwo.training import devices, graph, loop
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.graph import StaticSteps, capture_steps, undone
from powtwo.training.loop import TrainingRun
from powtwo.training.processes import SINGLE_PROCESS
from powtwo.training.trainer import Trainer, move_average

ADAM = {"optimizer": "adam", "nesterov": False, "learning_rate": 0.001}
CHOICE = TrainingRun._choose_steps


def warmed_up(step: Callable[[], None], trainer: Trainer) -> Callable[[], None]:
    """Stand in for a capture: all that surrounds it, and steps launched one by one."""
    with undone(trainer):
        for _ in range(graph.WARM_UP):
            step()
    return step


@pytest.fixture
def _static(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a CPU take the way of a GPU, in blocks of which an epoch's last is not full."""

    def choose(run: TrainingRun, draws: Any) -> StaticSteps:
        static = StaticSteps(run.trainer, run._images, run._labels, run._normalization)
        assert capture_steps(static, run.trainer, draws, 0)
        return static

    monkeypatch.setattr(graph, "BLOCK", 4)
    monkeypatch.setattr(graph, "captured", warmed_up)
    monkeypatch.setattr(TrainingRun, "_choose_steps", choose)


@pytest.mark.usefixtures("_static")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment": ALL_ON, "average": 0.9},
        {"augment": ALL_ON | {"flip": "random"}, "nesterov": False, "decay": "weights"},
        {"momentum": 0.0, "nesterov": False},
        ADAM,
        ADAM | {"average": 0.3, "schedule": "plateau", "precision": "float32"},
    ],
)
def test_static_steps_equal_eager_ones_in_every_bit(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset, changes: dict[str, Any]
) -> None:
    _, static, _ = fit(dataset, **changes)
    monkeypatch.setattr(TrainingRun, "_choose_steps", CHOICE)
    _, eager, _ = fit(dataset, **changes)
    assert (static.steps, eager.steps) == ("captured", "eager")
    assert static.history == eager.history
    assert save(static.weights) == save(eager.weights)


@pytest.mark.usefixtures("_static")
@pytest.mark.parametrize("changes", [STATEFUL, STATEFUL | ADAM])
def test_a_resumed_run_captures_its_own_tensors(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """And ends with the bytes of one that was never stopped."""
    _, undisturbed, _ = fit(dataset, **changes)
    saved, epoch = Checkpoints({"a": "b"}, tmp_path), TrainingRun.epoch

    def stops(run: TrainingRun) -> None:
        if len(run.history) == 2:
            raise KeyboardInterrupt
        epoch(run)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "epoch", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(dataset, checkpoints=saved, **changes)
    _, resumed, _ = fit(dataset, checkpoints=saved, **changes)
    assert resumed.history == undisturbed.history
    assert save(resumed.weights) == save(undisturbed.weights)


@pytest.mark.usefixtures("_static")
def test_a_run_restored_after_a_capture_captures_again(dataset: Dataset) -> None:
    """Restoring replaces the optimizer's tensors, whose addresses a graph has recorded."""
    torch.manual_seed(0)
    run = TrainingRun(
        SMALL.build(), dataset, DYADIC, recipe(**STATEFUL), seed=0, group=SINGLE_PROCESS
    )
    run.epoch()
    first = run._take_steps
    run.restore(run.state())
    run.epoch()
    assert run._take_steps is not first


def test_a_capture_warms_up_beside_and_undoes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's part is played by fakes, which write down what is asked of them."""
    events: list[str] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            events.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def inside(name: str) -> Iterator[None]:
        events.append(f"begin {name}")
        yield
        events.append(f"end {name}")

    cuda = SimpleNamespace(
        Stream=Stream,
        current_stream=lambda: Stream("main"),
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: events.append("replay")),
        stream=lambda stream: inside(stream.name),
        graph=lambda _, stream: inside(f"capture on {stream.name}"),
    )
    trainer = SimpleNamespace(
        state=lambda: {"weights": torch.ones(1)}, undo=lambda _: events.append("undo")
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    launch = graph.captured(lambda: events.append("step"), trainer)  # type: ignore[arg-type]
    assert events == [
        "side waits for main", "begin side", "step", "step", "step", "end side",
        "main waits for side", "undo", "begin capture on side", "step", "end capture on side",
    ]  # fmt: skip
    launch()
    assert events[-1] == "replay"


def make(dataset: Dataset) -> tuple[StaticSteps, Trainer, Any]:
    run = TrainingRun(SMALL.build(), dataset, DYADIC, recipe(), seed=0, group=SINGLE_PROCESS)
    draws = run._sampler.epoch(1, 1, 16)
    static = StaticSteps(run.trainer, run._images, run._labels, DYADIC)
    return static, run.trainer, draws


@pytest.mark.parametrize(
    ("fails", "total", "kind", "said"),
    [
        ((), 60_000, "captured, compiled", ""),
        ((), 40_000, "captured", ""),
        ((1,), 60_000, "captured", "train: steps are not compiled: no Triton\n"),
        (
            (1, 2),
            60_000,
            None,
            "train: steps are not compiled: no Triton\n"
            "train: steps are not captured as a CUDA graph: no Triton\n",
        ),
    ],
)
def test_what_cannot_be_compiled_or_captured_is_said(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dataset: Dataset,
    fails: tuple[int, ...], total: int, kind: str | None, said: str,
) -> None:  # fmt: skip
    attempts = 0

    def capture(step: Callable[[], None], trainer: Trainer) -> Callable[[], None]:
        nonlocal attempts
        attempts += 1
        launch = warmed_up(step, trainer)
        if attempts in fails:
            raise RuntimeError("no Triton\nand more lines")
        return launch

    monkeypatch.setattr(graph, "captured", capture)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    static, trainer, draws = make(dataset)
    before = copy.deepcopy(trainer.network.state_dict())
    assert capture_steps(static, trainer, draws, total) == (kind is not None)
    assert kind in (None, static.kind)
    assert capsys.readouterr().err == said
    after = trainer.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_memory_that_runs_out_is_no_reason_to_go_on(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    def capture(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graph, "captured", capture)
    with pytest.raises(torch.OutOfMemoryError):
        capture_steps(*make(dataset), 0)


def test_a_gpu_captures_and_its_fallback_is_eager(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    totals = []

    def attempt(*arguments: Any) -> bool:
        totals.append(arguments[-1])
        return len(totals) == 1

    monkeypatch.setattr(loop, "capture_steps", attempt)
    run = TrainingRun(SMALL.build(), dataset, DYADIC, recipe(), seed=0, group=SINGLE_PROCESS)
    assert run._choose_steps(None).kind == "eager"  # type: ignore[arg-type]
    run.trainer.device = SimpleNamespace(type="cuda")  # type: ignore[assignment]
    monkeypatch.setattr(loop, "StaticSteps", lambda *_: "static")
    assert run._choose_steps(None) == "static"  # type: ignore[arg-type, comparison-overlap]
    assert run._choose_steps(None).kind == "eager"  # type: ignore[arg-type]
    assert totals == [3 * 6] * 2


class OnGpu(torch.Tensor):
    """A number that says it lies on a GPU."""

    device = torch.device("cuda")  # type: ignore[assignment]


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_the_average_moves_by_a_number_on_a_gpu_as_by_one_of_python(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(size, generator=generator) for size in (5, 3)]
    averages = [[torch.full((size,), 0.5) for size in (5, 3)] for _ in range(2)]
    move_average(averages[0], weights, share)
    move_average(averages[1], weights, torch.tensor(share).as_subclass(OnGpu))
    for one, other in zip(*averages, strict=True):
        torch.testing.assert_close(other.as_subclass(torch.Tensor), one)


def test_a_gpu_writes_no_checkpoint_of_an_epoch_that_took_less(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset, tmp_path: Path
) -> None:
    """Each would take as long as the epoch; the first and the last are always written."""
    write, epochs = Checkpoints.write, []

    def spy(self: Checkpoints, state: Any) -> None:
        epochs.append(len(state["history"]))
        write(self, state)

    monkeypatch.setattr(Checkpoints, "write", spy)
    fit(dataset, checkpoints=Checkpoints({"a": "b"}, tmp_path), epochs=4)
    monkeypatch.setitem(loop.CHECKPOINT_SECONDS, "cpu", 1e6)
    fit(dataset, checkpoints=Checkpoints({"a": "c"}, tmp_path), epochs=4)
    assert epochs == [1, 2, 3, 4, 1, 4]


def test_a_gpu_is_described_by_what_is_compiled_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "H100")
    monkeypatch.setattr("torch.version.cuda", "13.0")
    assert devices.describe("cuda") == "H100, CUDA 13.0"
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    assert devices.describe("cuda") == "H100, CUDA 13.0, nothing compiled"
