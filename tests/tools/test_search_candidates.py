"""Which formats each layer may have: from words and files to schemes."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_vgg import CHECKPOINT, options_of

from powtwo.conversion.scheme import LayerBits, Scheme
from powtwo.network.folding import fold
from powtwo.tools.search import candidates

LAYERS = fold(CHECKPOINT.network())  # weighted: 0, 2, 4, 7, 8


def formats(scheme: Scheme, text: str) -> dict[int, list[dict[str, object]]]:
    listed = candidates.by_layer(candidates.read(text), LAYERS, scheme)
    return {each.index: [candidates.said_format(bits) for bits in each.formats] for each in listed}


def test_words_are_kinds_and_bits_of_weights_outputs_and_accumulators() -> None:
    assert candidates.read("uniform2, power_of_two4a8,uniform2p12,uniform2a4p8").all == [
        LayerBits(kind="uniform", weights=2),
        LayerBits(kind="power_of_two", weights=4, activations=8),
        LayerBits(kind="uniform", weights=2, accumulator=12),
        LayerBits(kind="uniform", weights=2, activations=4, accumulator=8),
    ]
    assert candidates.read(candidates.WORDS).layers == {}


def test_the_schemes_own_format_comes_first_and_none_twice() -> None:
    listed = formats(options_of(), "uniform4,uniform4a8,uniform4a4,uniform2")
    assert listed[2] == [
        {},
        {"kind": "uniform", "weights": 4, "activations": 4},
        {"kind": "uniform", "weights": 2},
    ]
    assert list(listed) == [0, 2, 4, 7, 8]


def test_accumulators_tell_formats_apart() -> None:
    narrow = {"kind": "uniform", "weights": 4, "accumulator": 16}
    assert formats(options_of(), "uniform4p32,uniform4p16")[2] == [{}, narrow]
    scheme = options_of(accumulator={"bits": 16})
    assert formats(scheme, "uniform4p16,uniform4p32")[2] == [{}, narrow | {"accumulator": 32}]


def test_int32_logits_have_no_bits() -> None:
    assert formats(options_of(), "uniform4a4,uniform2a4")[8] == [
        {},
        {"kind": "uniform", "weights": 2},
    ]
    coded = formats(options_of(logits="codes"), "uniform2a4")
    assert coded[8][1] == {"kind": "uniform", "weights": 2, "activations": 4}


def test_what_a_candidate_leaves_out_is_as_the_scheme_has_it_for_the_layer() -> None:
    scheme = options_of(
        layers={"first": {"activations": 8}, "4": {"weights": 6, "kind": "uniform"}}
    )
    listed = formats(scheme, "uniform2")
    assert listed[0] == [{"activations": 8}, {"kind": "uniform", "weights": 2, "activations": 8}]
    assert listed[4] == [{"kind": "uniform", "weights": 6}, {"kind": "uniform", "weights": 2}]


def test_a_file_has_lists_of_its_own_for_single_layers(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    text = "all: [{weights: 2}]\nlayers: {first: [{weights: 6}, {weights: 7}]}\n"
    path.write_text(text, encoding="utf-8")
    listed = formats(options_of(), str(path))
    assert listed[0] == [{}, {"weights": 6}, {"weights": 7}]
    assert all(listed[index] == [{}, {"weights": 2}] for index in (2, 4, 7, 8))


def test_an_assignment_is_the_scheme_with_these_layers() -> None:
    scheme = options_of(layers={"last": {"weights": 6}})
    layers = candidates.by_layer(candidates.read("uniform2"), LAYERS, scheme)
    own = candidates.assigned(scheme, layers, {})
    assert own == scheme.model_copy(update={"layers": {"8": LayerBits(weights=6)}})
    changed = candidates.assigned(scheme, layers, {2: layers[1].formats[1]})
    assert changed.layers == {
        "2": LayerBits(kind="uniform", weights=2),
        "8": LayerBits(weights=6),
    }


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("layers: {second: [{weights: 2}]}", "layers.second = 'second': "),
        ("layers: {first: []}", "layers.first = "),
        ("all: [{bits: 2}]", "all.0.bits = 2: unknown key"),
        ("formats: []", "formats = "),
        (
            "layers: {'1': [{weights: 2}]}",
            "candidates: layers: 1: no layer with codes of its own;",
        ),
        (
            "layers: {first: [{weights: 2}], '0': [{weights: 3}]}",
            "candidates: layers: 0: names layer 0 a second time; leave one",
        ),
        ("all: [{kind: power_of_two, weights: 6}]", "power_of_two has 6 bits: at most 4"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="^.*") as refused:
        formats(options_of(), str(path))
    assert rule in str(refused.value)
