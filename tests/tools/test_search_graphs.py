"""A search on a residual network: layers one by one, additions and averages at their price."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import search_case
from test_search import QTOOLS

from powtwo.energy.operation_prices import load_price_table
from powtwo.sidecar import schema
from powtwo.tools.search import candidates, run, steps
from powtwo.tools.search.measure import Measurer
from powtwo.tools.search.price import Prices

WORDS = "uniform3,power_of_two3"
WEIGHTED = [0, 1, 3, 6]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    search_case.write(tmp_path, search_case.residual())
    return tmp_path


def test_predicted_energies_are_those_of_the_networks(root: Path) -> None:
    params = schema.load()
    dataset = run.Dataset.load(run.IMAGES)
    measurer = Measurer(run.NETWORK, dataset, params.calibrate, 24, root / run.KEPT)
    scheme = params.schemes["base"]
    layers = candidates.by_layer(candidates.read(WORDS), measurer.layers, scheme)
    assert [layer.index for layer in layers] == WEIGHTED
    prices = Prices(load_price_table("qtools"), params.energy.zero_point)
    front = steps.front(steps.alone(scheme, layers, measurer, prices), prices)
    assert len(front) > 3
    for each in steps.measured(front, scheme, layers, measurer, prices):
        assert each.pj in {other.pj for other in front if other.formats == each.formats}


def test_a_search_ends_within_its_budget(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["base", "--ratio", "12", *QTOOLS[:2], "--candidates", WORDS, "--tries", "2"])
    with (root / "build/search/base-mixed/front.csv").open(newline="", encoding="utf-8") as file:
        measured = [row for row in csv.DictReader(file) if row["loss"]]
    assert len(measured) == 2
    assert all(float(row["ratio"]) >= 12 for row in measured)
    assert "base-mixed" in capsys.readouterr().out


def test_candidates_that_change_codes_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.main(["base", "--ratio", "12", "--candidates", "uniform3a4"])
    error = capsys.readouterr().err
    assert "candidates: layer 0: activations = 4: the network has additions" in error
    assert error.count("\n") == 1
    assert not (root / run.KEPT).exists()
