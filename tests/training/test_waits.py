"""Within an epoch nothing waits for the device: on a GPU, each wait would stall the steps after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_runs import ALL_ON, SMALL, recipe

from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.training import loop
from powtwo.training.trainer import Trainer

STEPS = 100 // 8
READS = ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy")


class Waits(TorchDispatchMode):
    """Lists, while `on`, the operators that on a GPU wait for all that was asked of it before."""

    NAMES = frozenset({
        "aten::_local_scalar_dense",  # a value as a number
        "aten::nonzero", "aten::masked_select", "aten::unique_dim", "aten::_unique2",  # a length
        "aten::lift_fresh",  # torch.tensor: numbers on their way to it
    })  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.on, self.names = False, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masks = name in {"aten::index", "aten::index_put_"} and any(
            index is not None and index.dtype in {torch.bool, torch.uint8} for index in args[1]
        )
        if self.on and (masks or name in self.NAMES):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_goes_to_the_device_or_is_read_back_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    """After the first step, which may wait for what all others need as well.

    On a CPU, `to` copies nothing, and so is counted here.
    """
    waits, steps, step, move = Waits(), 0, Trainer.step, torch.Tensor.to
    moves: list[Any] = []
    reads: list[str] = []

    def watched(*arguments: Any) -> torch.Tensor:
        nonlocal steps
        measures = step(*arguments)
        steps += 1
        waits.on = steps < STEPS
        return measures

    def moved(tensor: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        if waits.on and any(isinstance(each, torch.device) for each in (*args, *named.values())):
            moves.append(args)
        return move(tensor, *args, **named)

    monkeypatch.setattr(Trainer, "step", watched)
    monkeypatch.setattr(torch.Tensor, "to", moved)
    for name in READS:
        original = getattr(torch.Tensor, name)

        def read(tensor: torch.Tensor, *rest: Any, _o: Any = original, _n: str = name) -> Any:
            if steps:
                reads.append(_n)
            return _o(tensor, *rest)

        monkeypatch.setattr(torch.Tensor, name, read)
    standard = Normalization.measured(dataset.x_train)
    train = recipe(epochs=1, batch_size=8, average=0.9, augment=ALL_ON)
    with waits:
        loop.fit(SMALL.build(), dataset, standard, train, seed=0)
    assert (steps, waits.names, moves) == (STEPS, [], [])
    # At the epoch's end: the log of the steps, two values of it, and the validation's two.
    assert reads == ["cpu", "tolist", "item", "item", "tolist"]
