"""A search from end to end: what it chooses, that it goes on where it was, what it refuses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import search_case
import torch
import yaml
from published_run import contents
from search_case import CANDIDATES, FORMATS, INDICES

from powtwo.calibration import exponents
from powtwo.conversion import to_integer
from powtwo.conversion.scheme import Scheme
from powtwo.energy.operation_prices import load_price_table
from powtwo.sidecar import schema
from powtwo.tools.search import candidates, run, steps
from powtwo.tools.search.measure import Measurer, relative_entropy
from powtwo.tools.search.price import Budget, Prices

QTOOLS = ("--table", "qtools", "--candidates", CANDIDATES)
RATIO = ("base", "--ratio", "20", *QTOOLS, "--tries", "3")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    search_case.write(tmp_path)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Scheme]:
    """Return the schemes that are calibrated from now on."""
    schemes: list[Scheme] = []
    calibrate = exponents.calibrate

    def told(*arguments: Any) -> Any:
        schemes.append(arguments[3])
        return calibrate(*arguments)

    monkeypatch.setattr(exponents, "calibrate", told)
    return schemes


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def outputs(root: Path) -> dict[str, bytes]:
    return contents(root / "build/search/base-mixed")


def test_what_is_found_is_the_best_that_the_model_predicts(root: Path) -> None:
    run.main([*RATIO])
    alone = table(root / "build/search/base-mixed/layers.csv")
    assert [int(row["layer"]) for row in alone] == [i for i in INDICES for _ in range(3)]
    added = [float(row["added_loss"]) for row in alone]
    assert added[::3] == [0.0] * 5
    own = float(alone[0]["loss"])
    front = table(root / "build/search/base-mixed/front.csv")
    measured = [row for row in front if row["loss"]]
    assert len(measured) == 3
    # Every assignment, priced by converting its scheme, against the front.
    measurer, prices, scheme, layers = whole(root)
    every = []
    for picks in product(range(3), repeat=5):
        formats = {layer.index: layer.formats[p] for layer, p in zip(layers, picks, strict=True)}
        loss = own + sum(added[3 * at + pick] for at, pick in enumerate(picks))
        every.append((formats, loss))
    costs = shapes_only(measurer, scheme, layers, [formats for formats, _ in every], prices)
    float_uj = float(prices.float_pj(measurer.measure(scheme).shapes)) / 1e6
    within = [loss for (_, loss), uj in zip(every, costs, strict=True) if float_uj / uj >= 20]
    best = max(measured, key=lambda row: float(row["energy_uj"]))
    assert float(best["predicted_loss"]) == pytest.approx(min(within), abs=1e-6)
    assert all(float(row["ratio"]) >= 20 for row in measured)


def whole(root: Path) -> tuple[Measurer, Prices, Scheme, list[candidates.LayerFormats]]:
    params = schema.load()
    measurer = Measurer(
        run.NETWORK, run.Dataset.load(run.IMAGES), params.calibrate, 24, root / run.KEPT
    )
    scheme = params.schemes["base"]
    layers = candidates.by_layer(candidates.read(CANDIDATES), measurer.layers, scheme)
    return measurer, Prices(load_price_table("qtools"), params.energy.zero_point), scheme, layers


def shapes_only(
    measurer: Measurer,
    scheme: Scheme,
    layers: list[candidates.LayerFormats],
    listed: list[dict[int, Any]],
    prices: Prices,
) -> list[float]:
    """Return the µJ of assignments from their own codes, layer by layer."""
    shapes = {
        (layer.index, at): measurer.measure(
            candidates.assigned(scheme, layers, {layer.index: each})
        ).shapes[position]
        for position, layer in enumerate(layers)
        for at, each in enumerate(layer.formats)
    }
    costs = []
    for formats in listed:
        codes, pj = (8, 128), 0
        for layer in layers:
            shape = shapes[layer.index, layer.formats.index(formats[layer.index])]
            reading = replace(shape, input_bits=codes[0], input_zero_point=codes[1])
            pj += prices.pj([reading])
            codes = (shape.output_bits, shape.output_zero_point)
        costs.append(float(pj) / 1e6)
    return costs


def test_predicted_energies_are_those_of_the_networks(root: Path) -> None:
    measurer, prices, scheme, layers = whole(root)
    front = steps.front(steps.alone(scheme, layers, measurer, prices), prices)
    assert len(front) > 3
    for each in steps.measured(front, scheme, layers, measurer, prices):
        assert each.pj in {other.pj for other in front if other.formats == each.formats}


def test_a_second_search_measures_nothing_and_writes_the_same_bytes(
    root: Path, calls: list[Scheme]
) -> None:
    run.main([*RATIO])
    first = outputs(root)
    assert set(first) == {"layers.csv", "front.csv", "scheme.yaml"}
    assert len(calls) == len({str(each) for each in calls}) <= 1 + FORMATS + 3
    calls.clear()
    run.main([*RATIO])
    assert not calls
    assert outputs(root) == first


def test_a_killed_search_goes_on(
    root: Path, calls: list[Scheme], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = to_integer.convert

    def killed(*arguments: Any) -> Any:
        if len(calls) == 6:
            raise KeyboardInterrupt
        return convert(*arguments)

    monkeypatch.setattr(to_integer, "convert", killed)
    with pytest.raises(SystemExit):
        run.main([*RATIO])
    assert not (root / "build/search/base-mixed").exists()
    monkeypatch.setattr(to_integer, "convert", convert)
    interrupted = calls.pop()
    run.main([*RATIO])
    assert len({str(each) for each in calls}) == len(calls)  # nothing twice
    assert interrupted in calls
    resumed = outputs(root)
    for path in (root / run.KEPT).iterdir():
        path.unlink()
    run.main([*RATIO])
    assert outputs(root) == resumed


def test_rounds_search_on_from_what_was_found(root: Path, calls: list[Scheme]) -> None:
    run.main([*RATIO, "--tries", "1"])
    first = outputs(root)
    run.main([*RATIO, "--tries", "1", "--rounds", "9"])
    assert len({str(each) for each in calls}) == len(calls)
    rows = table(root / "build/search/base-mixed/layers.csv")
    last = max(int(row["round"]) for row in rows)
    assert 1 < last < 9  # it ended when nothing changed
    assert first["layers.csv"].splitlines()[1:] == [
        line for line in outputs(root)["layers.csv"].splitlines() if line.startswith(b"1,")
    ]
    front = table(root / "build/search/base-mixed/front.csv")
    losses = {
        number: min(float(row["loss"]) for row in front if row["loss"] and row["round"] == number)
        for number in map(str, range(1, last + 1))
    }
    best = min(losses.values())
    assert f"loss {best:.5f} (" in outputs(root)["scheme.yaml"].decode()
    # The second is around the best of the first: one layer at a time differs from it.
    found = next(row for row in front if row["round"] == "1" and row["loss"])
    again = [row for row in rows if row["round"] == "2" and row["added_loss"] == "0.0"]
    assert {int(row["layer"]) for row in again} == set(INDICES)
    assert {row["loss"] for row in again} == {found["loss"]}


def test_a_measurement_is_that_of_the_pipeline(root: Path) -> None:
    measurer, _, scheme, _ = whole(root)
    measured = measurer.measure(scheme)
    calibrated = exponents.calibrate(
        measurer.checkpoint, measurer.classes, measurer.calibration, scheme, 8
    )
    logits = to_integer.convert(calibrated, "x", scheme).network.logits(measurer.images)
    assert measured.correct == int((logits.argmax(1) == measurer.labels).sum())
    assert measured.images == 24
    assert measured.loss > 0
    assert [shape.index for shape in measured.shapes] == list(INDICES)


def test_a_measurement_is_kept_by_all_that_it_depends_on(root: Path) -> None:
    measurer, _, scheme, layers = whole(root)
    place = measurer.place(scheme)
    assert whole(root)[0].place(scheme) == place
    tuned = Scheme.model_validate(scheme.model_dump() | {"finetune": {"epochs": 3}})
    assert measurer.place(tuned) == place  # measured before it is fine-tuned
    changes: list[Callable[[schema.Params], Measurer]] = [
        lambda p: Measurer(run.NETWORK, dataset(), p.calibrate, 23, measurer.folder),
        lambda p: Measurer(
            run.NETWORK, dataset(), p.calibrate.model_copy(update={"seed": 1}), 24, measurer.folder
        ),
        lambda p: Measurer(root / "models/other", dataset(), p.calibrate, 24, measurer.folder),
    ]
    measurer.checkpoint.weights["0.weight"] = measurer.checkpoint.weights["0.weight"] + 1
    measurer.checkpoint.save(root / "models/other")
    others = {change(schema.load()).place(scheme) for change in changes}
    others.add(measurer.place(candidates.assigned(scheme, layers, {0: layers[0].formats[1]})))
    assert len(others - {place}) == 4


def dataset() -> run.Dataset:
    return run.Dataset.load(run.IMAGES)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"images": 1}', '{"images": 1, "shapes": [{}]}', "\\0"]
)
def test_a_damaged_measurement_is_made_again(root: Path, text: str, calls: list[Scheme]) -> None:
    measurer, _, scheme, _ = whole(root)
    first = measurer.measure(scheme)
    before = measurer.place(scheme).read_bytes()
    measurer.place(scheme).write_text(text, encoding="utf-8")
    assert measurer.measure(scheme) == first
    assert measurer.place(scheme).read_bytes() == before
    assert len(calls) == 2


def test_a_format_that_is_refused_is_told_and_not_used(
    root: Path, monkeypatch: pytest.MonkeyPatch, calls: list[Scheme]
) -> None:
    convert = to_integer.convert

    def refusing(*arguments: Any) -> Any:
        bits = arguments[2].layers.get("2")
        if bits and bits.kind == "uniform":
            raise ValueError("layer 2: accumulators\ndo not fit")
        return convert(*arguments)

    monkeypatch.setattr(to_integer, "convert", refusing)
    for again in (False, True):  # then it reads that it was refused
        run.main([*RATIO])
        rows = table(root / "build/search/base-mixed/layers.csv")
        refused = [row for row in rows if row["refused"]]
        assert [row["refused"] for row in refused] == ["layer 2: accumulators do not fit"]
        assert refused[0]["loss"] == ""
        front = table(root / "build/search/base-mixed/front.csv")
        kinds = {yaml.safe_load(row["layers"]).get(2, {}).get("kind") for row in front}
        assert kinds == {None, "power_of_two"}
        assert bool(calls) != again
        calls.clear()


def test_the_scheme_is_added_to_the_parameter_file(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (root / "params.yaml").read_text(encoding="utf-8")
    run.main([*RATIO, "--name", "mixed", "--add"])
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "build/search/mixed: scheme.yaml, front.csv, layers.csv"
    params = schema.load()
    assert list(params.schemes) == ["base", "mixed"]
    found, base = params.schemes["mixed"], params.schemes["base"]
    assert found.layers
    assert found.model_copy(update={"layers": {}}) == base
    written = (root / "build/search/mixed/scheme.yaml").read_text(encoding="utf-8")
    values = schema.parse_yaml(written)["schemes"]["mixed"]
    assert Scheme.model_validate(values) == found
    after = (root / "params.yaml").read_text(encoding="utf-8")
    assert after.replace("\n", "").startswith(before.partition("evaluate:")[0].replace("\n", ""))
    front = table(root / "build/search/mixed/front.csv")
    best = min((row for row in front if row["loss"]), key=lambda row: float(row["loss"]))
    assert {
        int(name): each.model_dump(exclude_none=True) for name, each in found.layers.items()
    } == (yaml.safe_load(best["layers"]))
    assert f"{float(best['loss']):.5f}" in written


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("bas", "--ratio", "2"), "bas: no scheme of params.yaml; use one of base"),
        (("base", "--ratio", "0"), "--ratio 0: must be a decimal number above 0"),
        (("base", "--budget-uj", "1e3"), "--budget-uj 1e3: must be a decimal number above 0"),
        (("base", "--ratio", "2", "--tries", "0"), "--tries 0: must be a number from 1 on"),
        (("base", "--ratio", "2", "--table", "no"), "--table = no: no such table"),
        (("base", "--ratio", "2", "--table", "lab"), "--table = lab: has no price for int"),
        (("base", "--ratio", "2", "--name", "A b"), "search: name = 'A b': "),
        (("base", "--ratio", "2", "--candidates", "two"), "--candidates 'two': must be a kind"),
        (
            ("base", "--ratio", "2", "--candidates", "uniform9"),
            "--candidates 'uniform9': weights = 9: Input should be less than or equal to 8",
        ),
        (
            ("base", "--ratio", "2", "--candidates", "power_of_two5"),
            "candidate: layers = ",
        ),
        (("base", "--ratio", "100", *QTOOLS), "the budget is "),
        (("base", "--budget-uj", "0.01", *QTOOLS), "the budget is 0.01 µJ; the cheapest "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], line: str
) -> None:
    with pytest.raises(SystemExit):
        run.main([*arguments])
    said = capsys.readouterr().err
    assert said.startswith(f"search: {line}")
    assert said.count("\n") == 1
    assert not (root / "build/search/base-mixed").exists()


def of_pj(pj: int) -> Budget:
    return Budget(Fraction(pj), Fraction(1000), "")


def test_what_is_measured_is_the_best_and_a_few_that_take_little_less() -> None:
    front = [steps.Found({}, Fraction(pj), 100.0 - pj) for pj in (10, 50, *range(90, 120))]

    def chosen(pj: int, count: int) -> list[int]:
        return [int(each.pj) for each in steps.few(front, of_pj(pj), count)]

    assert chosen(100, 5) == [100, 99, 98, 97, 96]
    assert chosen(100, 2) == [100, 97]
    assert chosen(100, 1) == [100]
    assert chosen(60, 3) == [50, 10]
    assert chosen(95, 7) == [95, 94, 93, 92, 91, 90, 50]
    with pytest.raises(ValueError, match="cheapest assignment takes 1e-05 µJ, a ratio of 100: ask"):
        chosen(9, 3)


def test_of_what_was_measured_the_least_loss_within_the_budget_is_chosen(root: Path) -> None:
    measurer, _, scheme, _ = whole(root)
    own = measurer.measure(scheme)
    losses = ((9, 0.3), (8, 0.2), (7, 0.2), (11, 0.1))
    tried = [steps.Found({}, Fraction(pj), 0.0, replace(own, loss=loss)) for pj, loss in losses]
    assert steps.best(tried, of_pj(10)) is tried[2]
    assert steps.best(tried, of_pj(11)) is tried[3]
    with pytest.raises(ValueError, match="no measured assignment is within the budget"):
        steps.best(tried, of_pj(6))


def test_relative_entropy_is_that_of_the_formula() -> None:
    reference = torch.tensor([[0.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    assert relative_entropy(reference, reference + 5) == pytest.approx(0, abs=1e-15)
    # p = (1/2, 1/2), q = (1/4, 3/4): (log 2 + log 2/3) / 2 = log(4/3) / 2
    q = torch.tensor([[0.0, 3.0]], dtype=torch.float64).log()
    q[0, 0] = 0
    assert relative_entropy(reference[:1], q) == pytest.approx(torch.tensor(4 / 3).log() / 2)
