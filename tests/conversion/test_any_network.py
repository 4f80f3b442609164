"""Any finite float network converts, whatever the size of its weights, and engines agree on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_vgg import CLASSES, IMAGES

from powtwo.calibration import observers
from powtwo.calibration.exponents import calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.normalization import Normalization
from powtwo.engine.base import Reference
from powtwo.engine.choose import make
from powtwo.integer.layer import INT32_LIMIT
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint

ARCHITECTURE = Architecture((4, "M", 4, "M", 4, "M", "M"), (8,), len(CLASSES))
NOTHING, EVERYTHING = (0.0, 1e-7, 1e-14, 1e-30, 1e-44), (1e7, -1e14, 1e30)
CLAMPS = st.sampled_from([None, None, [-8, 0]])
quantizers = {"observer": st.sampled_from(observers.names()), "clamp": CLAMPS}
weights = st.fixed_dictionaries(
    quantizers
    | {
        "bits": st.sampled_from([3, 4]),
        "kind": st.sampled_from(["uniform", "power_of_two", "power_of_two_nonzero"]),
        "per": st.sampled_from(["tensor", "channel"]),
        "rounding": st.sampled_from(["nearest", "learned"]),
    }
)
activations = st.fixed_dictionaries(
    quantizers | {"bits": st.sampled_from([4, 8]), "zero_point": st.sampled_from([None, 0])}
)
schemes = st.fixed_dictionaries({
    "weights": weights | weights.map(lambda each: each | {"bits": 8, "kind": "uniform"}),
    "activations": activations,
    "rounding": st.sampled_from(["floor", "half_up", "half_even"]),
    "bias": st.sampled_from(["nearest", "floor"]),
    "logits": st.sampled_from(["int32", "codes"]),
    "equalize": st.booleans(),
    "bias_correction": st.booleans(),
})  # fmt: skip


def network() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in ARCHITECTURE.build().state_dict().items()}


TENSORS = sorted(name for name, tensor in network().items() if tensor.dim())
scalings = st.lists(
    st.tuples(
        st.sampled_from(TENSORS),
        st.sampled_from([None, 0, 1]),  # the whole, or one channel
        st.sampled_from([*NOTHING, *EVERYTHING]),
    ),
    min_size=1,
    max_size=3,
)


def scaled(changes: list[tuple[str, int | None, float]]) -> Checkpoint:
    tensors = network()
    for name, channel, factor in changes:
        part = tensors[name] if channel is None else tensors[name][channel]
        part *= abs(factor) if name.endswith("running_var") else factor
    finite = {name: tensor.clamp(-3e38, 3e38) if tensor.dim() else tensor
              for name, tensor in tensors.items()}  # fmt: skip
    return Checkpoint(ARCHITECTURE, Normalization("dyadic"), finite)


def converted(checkpoint: Checkpoint, scheme: Scheme) -> to_integer.Conversion:
    calibrated = calibrate(checkpoint, CLASSES, IMAGES[:6], scheme, batch_size=6)
    return to_integer.convert(calibrated, "s", scheme)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(changes=scalings, options=schemes)
def test_any_finite_network_converts_and_engines_agree(
    changes: list[tuple[str, int | None, float]], options: dict[str, Any]
) -> None:
    conversion = converted(scaled(changes), Scheme.model_validate(options))
    pixels = IMAGES[:3]
    engine, reference = make(conversion.network), Reference(conversion.network)
    assert torch.equal(engine.logits(pixels).long(), reference.logits(pixels).long())
    for layer in conversion.network.layers:
        if layer.has_weights:
            assert int(layer.bound.max()) < INT32_LIMIT
            assert (
                layer.output is None or 0 <= int(layer.shift.min()) <= int(layer.shift.max()) <= 31
            )


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(changes=scalings, options=schemes, bits=st.integers(8, 24))
def test_any_finite_network_keeps_its_accumulators_within_few_bits(
    changes: list[tuple[str, int | None, float]], options: dict[str, Any], bits: int
) -> None:
    kind = options["weights"]["kind"].removesuffix("_nonzero")  # which may be too many for 8 bits
    options |= {"weights": options["weights"] | {"kind": kind}, "accumulator": {"bits": bits}}
    conversion = converted(scaled(changes), Scheme.model_validate(options))
    for layer in conversion.network.layers:
        if layer.has_weights:
            assert layer.accumulator_bits == bits
            assert int(layer.narrow_bound.max()) < 2 ** (bits - 1)
    engine, reference = make(conversion.network), Reference(conversion.network)
    assert torch.equal(engine.logits(IMAGES[:3]).long(), reference.logits(IMAGES[:3]).long())


@pytest.mark.parametrize("factor", [1e-14, 1e-30])
@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("observer", ["minmax-round", "mse"])
def test_a_layer_of_next_to_nothing_becomes_zeros_and_that_is_told(
    observer: str, per: str, factor: float
) -> None:
    quantizer = {"observer": observer, "bits": 8}
    options = {"weights": quantizer | {"per": per}, "activations": quantizer}
    checkpoint = scaled([("4.weight", None, factor)])
    conversion = converted(checkpoint, Scheme.model_validate(options))
    assert conversion.zeroed == (2,)
    assert any(line.startswith("layer 2: every weight becomes 0") for line in conversion.told)
    moved = [move for move in conversion.moves if move.layer == 2]
    assert {move.tensor for move in moved} == {"weight"}
    assert all(f"{move.before} -> {move.after}" in str(move) for move in moved)
    assert to_integer.metrics(conversion)["moved_exponents"] == len(conversion.moves)


@pytest.mark.parametrize("tensor", ["4.weight", "14.weight"])
@pytest.mark.parametrize("observer", ["lab", "minmax-round"])
@pytest.mark.parametrize("clamped", [("weights",), ("activations",), ("weights", "activations")])
def test_rounding_is_learned_where_a_clamp_is_far_from_the_weights(
    clamped: tuple[str, ...], observer: str, tensor: str
) -> None:
    """Sums of 10^30 steps would not be exact; what no codes can give is not asked of them."""
    options = {
        "weights": {"observer": observer, "bits": 8, "rounding": "learned"},
        "activations": {"observer": observer, "bits": 8},
    }
    for kind in clamped:
        options[kind]["clamp"] = [-8, 0]
    conversion = converted(scaled([(tensor, None, 1e30)]), Scheme.model_validate(options))
    assert all(layer.bias is not None for layer in conversion.network.layers if layer.has_weights)


def test_weights_below_half_a_step_of_a_clamped_exponent_are_told() -> None:
    """No exponent is moved for them: the clamp alone makes them 0."""
    quantizer = {"observer": "lab", "bits": 8, "clamp": [-8, 0]}
    checkpoint = scaled([("14.weight", None, 1e-7)])
    options = {"weights": quantizer, "activations": quantizer}
    conversion = converted(checkpoint, Scheme.model_validate(options))
    assert conversion.zeroed == (8,)
