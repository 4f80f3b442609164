"""Energy against figures worked by hand, term by term, in exact fractions."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network, random_pixels
from safetensors.numpy import save_file
from torch.utils.flop_counter import FlopCounterMode

from powtwo.energy import counts as energy
from powtwo.energy import price_table
from powtwo.integer import shapes
from powtwo.network.architecture import Architecture
from powtwo.tools.docs import energy_page, energy_passages, markdown

ROOT = Path(__file__).resolve().parents[2]
LAB = price_table.load("lab")
LAYERS = energy_page.lab_layers()
LAST = LAYERS[-1]


def exact(text: str) -> Fraction:
    return Fraction(text)


def priced(counts: energy.OpCounts) -> list[tuple[str, str, int, Fraction]]:
    return [(t.kind, t.operation, t.count, t.count * LAB[t.operation]) for t in counts.terms]


def test_last_layer_float_term_by_term() -> None:
    (counts,) = energy.float_counts([LAST])
    assert priced(counts) == [
        ("multiply", "fp32_multiply", 1280, 4736),
        ("accumulate", "fp32_add", 1270, 1143),
        ("bias", "fp32_add", 10, 9),
    ]
    assert counts.energy(LAB) == 5888


SUMS = [
    ("multiply", "int8_multiply", 1280, exact("256")),
    ("accumulate", "int32_add", 1270, exact("127")),
    ("bias", "int32_add", 10, exact("1")),
]
SHIFT = ("requantize", "shift", 10, exact("0.1"))
ADD = ("requantize", "int8_add", 10, exact("0.3"))


@pytest.mark.parametrize(
    ("convention", "terms", "pj"),
    [
        ("per_use", [("zero_point", "int8_add", 1280, exact("38.4")), SHIFT, ADD], "422.8"),
        ("per_input", [("zero_point", "int8_add", 128, exact("3.84")), SHIFT, ADD], "388.24"),
        ("folded", [SHIFT, ADD], "384.4"),
        ("msb_flip", [SHIFT], "384.1"),
    ],
)
def test_last_layer_integer_term_by_term(
    convention: str, terms: list[tuple[str, str, int, Fraction]], pj: str
) -> None:
    (counts,) = energy.integer_counts([LAST], convention)
    assert priced(counts) == SUMS + terms
    assert counts.energy(LAB) == exact(pj)


@pytest.mark.parametrize(
    ("convention", "pj", "uj"),
    [
        ("per_use", "17523126.16", "17.523"),
        ("per_input", "15932970.64", "15.933"),
        ("folded", "15930562.96", "15.931"),
        ("msb_flip", "15926864.74", "15.927"),
    ],
)
def test_whole_network(convention: str, pj: str, uj: str) -> None:
    total = energy.total(energy.integer_counts(LAYERS, convention), LAB)
    assert total == exact(pj)
    assert f"{float(total) / 1e6:.3f}" == uj


def test_whole_network_float() -> None:
    assert energy.total(energy.float_counts(LAYERS), LAB) == 244_193_024
    assert sum(layer.macs for layer in LAYERS) == 53_085_440


def test_padding_is_multiplied_but_is_no_input() -> None:
    """The design's 15.933 µJ pays for stored elements; with the padding it would be 15.934."""
    assert sum(layer.inputs for layer in LAYERS) == 80_256
    padded = sum(
        layer.input_shape[0] * (layer.input_shape[1] + 2) * (layer.input_shape[2] + 2)
        if layer.kind == "conv2d"
        else layer.inputs
        for layer in LAYERS
    )
    folded = energy.total(energy.integer_counts(LAYERS, "folded"), LAB)
    assert folded + padded * LAB["int8_add"] == exact("15933742.84")


def test_shapes_and_macs_equal_torch() -> None:
    network = Architecture(energy_page.LAYOUT, energy_page.HIDDEN, energy_page.CLASSES).build()
    counter, sizes = FlopCounterMode(display=False), {}
    for name, module in network.named_children():
        module.register_forward_hook(
            lambda _, given, made, name=name: sizes.update(
                {name: (tuple(given[0].shape[1:]), tuple(made.shape[1:]))}
            )
        )
    with counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32))
    flops = counter.get_flop_counts()
    computing = (torch.nn.Conv2d, torch.nn.Linear)
    names = [name for name, module in network.named_children() if isinstance(module, computing)]
    assert [sum(flops[f"Sequential.{n}"].values()) // 2 for n in names] == [x.macs for x in LAYERS]
    assert [sizes[name] for name in names] == [
        (layer.input_shape, layer.output_shape) for layer in LAYERS
    ]


def test_int32_logits_are_not_requantized() -> None:
    layers = shapes.of_layout(energy_page.LAYOUT, energy_page.HIDDEN, 10, logits="int32")
    (counts,) = energy.integer_counts(layers[-1:], "per_use")
    assert counts.energy(LAB) == exact("422.4")
    assert energy.integer_counts(layers[:-1], "per_use") == energy.integer_counts(
        LAYERS[:-1], "per_use"
    )


def test_zero_point_of_zero_costs_nothing() -> None:
    layer = replace(LAST, input_zero_point=0, output_zero_point=0)
    energies = {energy.integer_counts([layer], name)[0].energy(LAB) for name in energy.CONVENTIONS}
    assert energies == {exact("384.1")}


def test_operation_without_a_price_is_an_error() -> None:
    table = replace(LAB, prices={k: v for k, v in LAB.prices.items() if k != "shift"})
    with pytest.raises(ValueError, match=r"energy\.table = lab: has no price for shift") as caught:
        energy.metrics(LAYERS, table, "folded")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "operation"),
    [(4, 8, "int4x8_multiply"), (8, 4, "int8x4_multiply"), (4, 4, "int4_multiply")],
)
def test_other_widths_are_not_taken_for_int8(
    weight_bits: int, input_bits: int, operation: str
) -> None:
    layer = replace(LAST, weight_bits=weight_bits, input_bits=input_bits)
    with pytest.raises(ValueError, match=f"no price for {operation}"):
        energy.total(energy.integer_counts([layer], "per_use"), LAB)


def test_unknown_convention_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"energy\.zero_point = none: must be one of"):
        energy.integer_counts(LAYERS, "none")


layers_strategy = st.lists(
    st.builds(
        shapes.LayerShape,
        index=st.integers(0, 20),
        kind=st.just("conv2d"),
        input_shape=st.tuples(*[st.integers(1, 64)] * 3),
        output_shape=st.tuples(*[st.integers(1, 64)] * 3),
        fan_in=st.integers(1, 5000),
        weight_bits=st.just(8),
        input_bits=st.just(8),
        input_zero_point=st.sampled_from([0, 128]),
        output_bits=st.sampled_from([8, None]),
        output_zero_point=st.sampled_from([0, 128]),
    ),
    min_size=1,
    max_size=5,
)
conventions = st.sampled_from(energy.CONVENTIONS)
prices = st.fixed_dictionaries(
    {name: st.fractions(0, 10, max_denominator=100) for name in LAB.prices}
)


def with_prices(values: dict[str, Fraction]) -> price_table.PriceTable:
    return replace(LAB, prices={k: price_table.Price(v, "course") for k, v in values.items()})


@given(layers_strategy, layers_strategy, conventions)
def test_energy_adds_up_over_layers(
    first: list[shapes.LayerShape], second: list[shapes.LayerShape], convention: str
) -> None:
    def of(layers: list[shapes.LayerShape]) -> Fraction:
        return energy.total(energy.integer_counts(layers, convention), LAB)

    assert of(first + second) == of(first) + of(second)


@given(layers_strategy, conventions, prices, prices)
def test_energy_is_linear_and_monotone_in_prices(
    layers: list[shapes.LayerShape],
    convention: str,
    one: dict[str, Fraction],
    other: dict[str, Fraction],
) -> None:
    def at(values: dict[str, Fraction]) -> Fraction:
        counts = energy.float_counts(layers) + energy.integer_counts(layers, convention)
        return energy.total(counts, with_prices(values))

    both = at({name: one[name] + 3 * other[name] for name in one})
    assert both == at(one) + 3 * at(other)
    assert both >= at(one)


@given(layers_strategy, prices)
def test_conventions_are_ordered(
    layers: list[shapes.LayerShape], values: dict[str, Fraction]
) -> None:
    table = with_prices(values)
    by = {
        name: energy.total(energy.integer_counts(layers, name), table)
        for name in energy.CONVENTIONS
    }
    assert by["per_use"] >= by["folded"] >= by["msb_flip"]
    assert by["per_input"] >= by["folded"]


def test_table_has_a_source_for_every_price() -> None:
    assert (LAB.name, LAB.process_nm) == ("lab", 45)
    assert {name: str(float(price.pj)) for name, price in LAB.prices.items()} == {
        "fp32_multiply": "3.7",
        "fp32_add": "0.9",
        "int32_add": "0.1",
        "int8_multiply": "0.2",
        "int8_add": "0.03",
        "shift": "0.01",
    }
    sources = {name: price.source for name, price in LAB.prices.items()}
    assert sources.pop("shift") == "course"
    assert set(sources.values()) == {"horowitz-2014"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "nJ"}, "unit = 'nJ': must be pJ"),
        ({"color": "red"}, "must be a mapping with the keys"),
        ({"prices": {"shift": 1}}, "shift = 1: must be"),
        ({"prices": {"shift": {"price": -1, "source": "course"}}}, "price = -1: must be a number"),
        ({"prices": {"shift": {"price": float("nan"), "source": "course"}}}, "price = nan: must"),
        ({"prices": {"shift": {"price": True, "source": "course"}}}, "price = True: must"),
        ({"prices": {"shift": {"price": 1, "source": "me"}}}, "source = 'me': not in sources"),
        ({"prices": None}, "sources and prices must be mappings"),
    ],
)
def test_bad_tables_are_refused(change: dict[str, object], message: str) -> None:
    values = yaml.safe_load((price_table.FOLDER / "lab.yaml").read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=message):
        price_table.parse(values | change, "lab.yaml")


def test_unknown_table_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"table = nothing: no such table; name one of .*lab"):
        price_table.load("nothing")


def test_docs_show_the_present_working() -> None:
    page = energy_page.PAGE.read_text(encoding="utf-8")
    for name, text in energy_passages.passages().items():
        assert markdown.insert(page, name, text) == page, f"{name} is stale: run `inv docs`"
    for golden in ("5,888", "422.8", "388.24", "384.4", "384.1", "244.193024", "17.52312616"):
        assert f"**{golden}**" in page
    for name, price in LAB.prices.items():
        assert f"| `{name}` | {energy_page.decimal(price.pj)} |" in page


def integer_file(path: Path, **changes: object) -> None:
    """Write conv 3→4 (stride 2) → pool → flatten → linear 16→5, on 3×8×8, by the contract."""
    codes = {"weight_bits": 8, "input_bits": 8, "input_zero_point": 128, "relu": False}
    out = {"output": "codes", "output_bits": 8, "output_zero_point": 128}
    about = {
        "format": 1,
        "input": {"shape": [3, 8, 8]},
        "layers": [
            {"kind": "conv2d", "kernel": 3, "stride": 2, "padding": 1} | codes | out,
            {"kind": "maxpool2d", "kernel": 2, "stride": 2},
            {"kind": "flatten"},
            {"kind": "linear", "output": "int32"} | codes,
        ],
    } | changes
    weights = {
        "layers.0.weight": np.zeros((4, 3, 3, 3), np.int8),
        "layers.3.weight": np.zeros((5, 16), np.int8),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={"powtwo": json.dumps(about)})


def test_shapes_are_read_from_the_file(tmp_path: Path) -> None:
    integer_file(tmp_path / "a.safetensors")
    first, last = shapes.read(tmp_path / "a.safetensors")
    assert (first.index, first.input_shape, first.output_shape, first.fan_in) == (
        0,
        (3, 8, 8),
        (4, 4, 4),
        27,
    )
    assert (last.index, last.input_shape, last.output_shape, last.fan_in) == (3, (16,), (5,), 16)
    assert (first.output_bits, last.output_bits) == (8, None)


@pytest.mark.parametrize("logits", ["int32", "codes"])
def test_shapes_equal_those_of_a_network_that_ran(tmp_path: Path, logits: str) -> None:
    network = random_network(0, logits=logits, zero_point=0)
    network.save(tmp_path / "a.safetensors")
    found = {layer.index: layer for layer in shapes.read(tmp_path / "a.safetensors")}
    given = random_pixels(0)
    for index, (layer, (_, made)) in enumerate(
        zip(network.layers, network.outputs(given), strict=True)
    ):
        assert (index in found) == layer.has_weights
        if layer.has_weights:
            assert found[index].input_shape == tuple(given.shape[1:])
            assert found[index].output_shape == tuple(made.shape[1:])
            assert found[index].fan_in == layer.weight[0].numel()
            assert found[index].input_zero_point == layer.input.zero_point
        given = made
    assert (found[index].output_bits, found[index].output_zero_point) == (
        (8, 0) if logits == "codes" else (None, None)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"format = 2: must be 1"),
        ({"input": {"shape": [1, 8, 8]}}, r"layer 0: weight \(4, 3, 3, 3\) does not fit"),
        ({"input": {"shape": [3, 2, 2]}}, r"layer 1: kernel = 2: larger than its input"),
        ({"layers": [{"kind": "gelu"}]}, r"layer 0: kind = 'gelu': unknown"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    integer_file(tmp_path / "a.safetensors", **changes)
    with pytest.raises(ValueError, match=message):
        shapes.read(tmp_path / "a.safetensors")


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(ValueError, match="not an integer network"):
        shapes.read(tmp_path / "a.safetensors")


def run_stage(
    folder: Path, scheme: str = "lab", table: str = "lab", **energy: object
) -> subprocess.CompletedProcess[str]:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["schemes"] = {scheme: next(iter(params["schemes"].values()))}
    params["export"]["schemes"] = []
    params["energy"] = {"table": table, "zero_point": "per_use"} | energy
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    command = [sys.executable, str(ROOT / "src" / "energy.py"), scheme]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_stage_writes_metrics_and_terms(tmp_path: Path) -> None:
    integer_file(tmp_path / "models/integer/lab.safetensors")
    done = run_stage(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")

    metrics = json.loads((tmp_path / "metrics/energy/lab.json").read_text(encoding="utf-8"))
    # conv: 64 outputs, K = 27; linear: 5 outputs, K = 16, int32 out
    float_pj = Fraction("4.6") * (64 * 27 + 5 * 16)
    integer_pj = (64 * 27 + 5 * 16) * Fraction("0.33") + 64 * Fraction("0.04")
    assert metrics["macs"] == 64 * 27 + 5 * 16
    assert metrics["float_uj"] == float(float_pj / 10**6)
    assert metrics["integer_uj"] == float(integer_pj / 10**6)
    assert metrics["ratio"] == pytest.approx(float(float_pj / integer_pj), rel=1e-7)
    assert metrics["last_float_pj"] == 368  # 4.6 · 5 · 16
    assert metrics["last_integer_pj"] == 26.4  # 0.33 · 5 · 16
    assert metrics["conventions"]["per_use"]["integer_uj"] == metrics["integer_uj"]
    assert metrics["conventions"]["msb_flip"]["last_integer_pj"] == 24  # 0.3 · 5 · 16

    with (tmp_path / "plots/energy/lab.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(energy.COLUMNS)
    assert {row["layer"] for row in rows} == {"0", "3"}
    for arithmetic, total in (("float", float_pj), ("integer", integer_pj)):
        found = [row for row in rows if (row["arithmetic"], row["table"]) == (arithmetic, "lab")]
        assert sum(Fraction(row["energy_pj"]) for row in found) == total
        for row in found:
            assert int(row["count"]) == int(row["times"]) * int(row["each"])
            assert Fraction(row["energy_pj"]) == int(row["count"]) * Fraction(row["price_pj"])


def test_stage_refuses_in_one_line(tmp_path: Path) -> None:
    integer_file(tmp_path / "models/integer/lab.safetensors")
    done = run_stage(tmp_path, table="none")
    assert done.returncode == 1
    assert (
        done.stderr == "energy-lab: energy.table = none: no such table; name one of lab, qtools\n"
    )
    assert not (tmp_path / "metrics").exists()


def test_energy_needs_no_torch() -> None:
    code = "import sys, powtwo.energy.metrics, powtwo.tools.docs.energy_passages; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)
