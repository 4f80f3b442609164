"""What docs/lab.md says of the course's second recipe, from a run of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_run import publish_as
from training_runs import recipe

from powtwo.core import files
from powtwo.tools.docs import lab_page
from powtwo.training.learning_rate import learning_rates

ADAM = lab_page.RECIPES[1]


@pytest.mark.parametrize(("fourth", "refuted"), [(0.73, True), (0.72, False)])
def test_a_schedule_is_ruled_out_where_the_first_epochs_are_better(
    tmp_path: Path, fourth: float, refuted: bool
) -> None:
    folder = publish_as(tmp_path, ADAM)
    epochs = [(1, 0.5), (2, 0.6), (3, 0.7), (4, fourth), (5, 0.9)]
    files.write_csv(folder / "plots/training.csv", ("epoch", "validation_accuracy"), epochs)
    train = files.read_json(folder / "metrics/train.json")
    files.write_json(folder / "metrics/train.json", train | {"test_accuracy": 0.8})
    text = lab_page.adam(folder)
    assert "ends here at 80.00% test accuracy" in text
    assert ("then the network had 73.00% validation accuracy" in text) == refuted
    assert "What is left is a guess" in text


def test_without_the_run_nothing_is_said(tmp_path: Path) -> None:
    assert lab_page.adam(tmp_path / ADAM) == ""


def test_a_plateau_that_takes_accuracy_for_a_loss_halves_the_rate_after_epoch_4() -> None:
    rising = [0.5, 0.6, 0.7, 0.75, 0.8]  # each is "worse" than the first
    plateau = recipe(schedule="plateau", learning_rate=1e-3)
    rates = [learning_rates(plateau, 1, rising[:epoch])[0] for epoch in range(6)]
    assert rates == [1e-3] * 4 + [5e-4] * 2
