"""Learned rounding and bias correction of a small real VGG, against its own float outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_vgg import CLASSES, options_of, trained
from torch import Tensor

from powtwo.calibration import reconstruction
from powtwo.calibration.exponents import calibrate
from powtwo.calibration.reconstruction import reconstruct
from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.integer.fixedpoint import Grid, by_channel, power_of_two
from powtwo.integer.network import IntegerNetwork
from powtwo.network.folded import FoldedLayer, outputs


def scheme(
    bits: int = 3, rounding: str = "floor", learn: bool = False, correct: bool = False
) -> Scheme:
    return options_of(
        weights={
            "observer": "minmax-round",
            "bits": bits,
            "rounding": ("nearest", "learned")[learn],
        },
        activations={"observer": "minmax-round"},
        rounding=rounding,
        bias_correction=correct,
    )


def coarse_images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)


def calibration(options: Scheme) -> Calibrated:
    return calibrate(CHECKPOINT, CLASSES, IMAGES, options, batch_size=8)


IMAGES, CHECKPOINT = coarse_images(), trained(6, 8, "M", 8, "M", 12, "M", "M")
CALIBRATED = calibration(scheme())


def per_channel(calibrated: Calibrated) -> Calibrated:
    """Give every other output channel a finer exponent."""
    layers = []
    for layer in calibrated.layers:
        if layer.folded.weight is not None:
            exponents = [layer.weight_exponent - i % 2 for i in range(len(layer.folded.weight))]
            layer = replace(layer, weight_exponent=tuple(exponents))  # noqa: PLW2901
        layers.append(layer)
    return replace(calibrated, layers=tuple(layers))


def network(calibrated: Calibrated, options: Scheme) -> IntegerNetwork:
    return to_integer.convert(calibrated, "s", options).network


def mean_differences(original: Calibrated, integer: IntegerNetwork, images: Tensor) -> list[Tensor]:
    """Return E[float pre-activation] − E[integer pre-activation] by layer, in accumulator steps."""
    found = []
    folded = [replace(layer, relu=False) for layer in original.folded]
    x = images.double() / 128 - 1
    for layer, (accumulators, _) in zip(
        zip(folded, original.folded, integer.layers, strict=True),
        integer.outputs(images),
        strict=True,
    ):
        linear, exact, quantized = layer
        if accumulators is not None:
            unit = power_of_two(by_channel(quantized.accumulator_exponent, accumulators.dim()))
            axes = [0, *range(2, accumulators.dim())]
            found.append(((linear(x) / unit) - accumulators.double()).mean(axes))
        x = exact(x)
    return found


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("rounding", ["floor", "half_even"])
@pytest.mark.parametrize("channels", [False, True])
def test_corrected_biases_leave_no_mean_but_their_own_rounding(
    learns: bool, rounding: str, channels: bool
) -> None:
    given = per_channel(CALIBRATED) if channels else CALIBRATED
    options = scheme(rounding=rounding, learn=learns, correct=True)
    corrected = reconstruct(given, options, IMAGES, 7)
    before = mean_differences(CALIBRATED, network(given, options), IMAGES)
    after = mean_differences(CALIBRATED, network(corrected, options), IMAGES)
    assert max(difference.abs().max().item() for difference in before) > 5
    for difference in after:
        assert difference.abs().max() < 0.501  # half a step, and what the fine network rounds


@pytest.mark.parametrize(("learn", "correct"), [(False, True), (True, False), (True, True)])
def test_order_batches_and_threads_do_not_change_a_byte(
    tmp_path: Path,
    learn: bool,
    correct: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconstruction, "SAMPLES", 500)  # so that positions are drawn
    before, options = torch.get_num_threads(), scheme(learn=learn, correct=correct)
    for name, pixels, size, threads in (("a", IMAGES, 24, 1), ("b", IMAGES.flip(0), 5, 3)):
        torch.set_num_threads(threads)
        try:
            reconstruct(CALIBRATED, options, pixels, size).save(tmp_path / name)
        finally:
            torch.set_num_threads(before)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def with_coarsening(calibrated: Calibrated) -> Calibrated:
    """Give outputs exponents so fine that shifts would be negative, and conversion moves them."""
    return replace(calibrated, layers=tuple(
        replace(layer, output=layer.output and replace(
            layer.output, exponent=layer.output.exponent - 3 * (index % 5)
        ))
        for index, layer in enumerate(calibrated.layers)
    ))  # fmt: skip


def test_a_layer_is_reconstructed_from_the_codes_that_it_will_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the layer before had its output coarsened."""
    options, read, real = scheme(learn=True, correct=True), {}, to_integer.convert_layer

    def watched(index: int, layer: object, codes: list[object], **options: object) -> object:
        read.setdefault(index, []).append(codes[0])
        return real(index, layer, codes, **options)

    monkeypatch.setattr(reconstruction, "convert_layer", watched)
    given = with_coarsening(CALIBRATED)
    found = reconstruct(given, options, IMAGES, 8)
    whole = to_integer.convert(found, "s", options)
    assert whole.moves
    layers = {i: layer.input for i, layer in enumerate(whole.network.layers) if layer.has_weights}
    assert read == {index: [codes] * 3 for index, codes in layers.items()}


def test_an_accumulator_that_overflows_coarsens_one_layer_too() -> None:
    layer = CALIBRATED.layers[0]
    step = power_of_two(layer.weight_exponent + CALIBRATED.input.codes.exponent)
    bias = torch.full_like(layer.folded.bias, 2.0**31 - 2) * step
    large = replace(layer, folded=replace(layer.folded, bias=bias))
    found = to_integer.convert_layer(0, large, [CALIBRATED.input.codes], scheme())
    assert int(found.bound.max()) < 2**31
    assert found.weight_exponent > layer.weight_exponent


def logit_error(original: Calibrated, integer: IntegerNetwork, images: Tensor) -> float:
    exact = list(outputs(original.folded, images.double() / 128 - 1))[-1]
    last = integer.layers[-1]
    values = integer.logits(images) * power_of_two(last.accumulator_exponent)
    return ((values - exact).square().sum() / exact.square().sum()).item()


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("channels", [False, True])
def test_conversion_gives_the_learned_codes_and_outputs_closer_to_the_floats(
    bits: int, channels: bool
) -> None:
    options = scheme(bits, learn=True, correct=True)
    calibrated = calibration(scheme(bits))
    given = per_channel(calibrated) if channels else calibrated
    learned = reconstruct(given, options, IMAGES, 8)
    converted = to_integer.convert(learned, "s", options)
    plain = to_integer.convert(given, "s", options)
    assert converted.clipped_weights == plain.clipped_weights  # learning does not hide them
    for layer, integer in zip(learned.layers, converted.network.layers, strict=True):
        if integer.weight is not None:
            exponent = by_channel(torch.tensor(layer.weight_exponent), integer.weight.dim() + 1)
            assert torch.equal(integer.weight * power_of_two(exponent), layer.source.weight)
    before = logit_error(calibrated, network(given, options), IMAGES)
    after = logit_error(calibrated, converted.network, IMAGES)
    assert after < (0.5 if bits < 8 else 1) * before


@pytest.mark.parametrize("bits", [3, 4])
def test_weights_may_be_powers_of_two(bits: int) -> None:
    def converted(rounding: str) -> IntegerNetwork:
        weights = {"bits": bits, "kind": "power_of_two", "rounding": rounding}
        activations = {"observer": "minmax-round"}
        options = options_of(weights=weights, activations=activations, bias_correction=True)
        return network(calibration(options), options)

    exact = calibration(scheme())
    nearest, learned = converted("nearest"), converted("learned")
    levels = set(Grid.of_powers(bits).codes.tolist())
    for layer in learned.layers:
        assert layer.weight is None or set(layer.weight.flatten().tolist()) <= levels
    assert logit_error(exact, learned, IMAGES) < 0.5 * logit_error(exact, nearest, IMAGES)


def test_patches_are_what_unfold_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-9, 9, (3, 2, 7, 6), generator=generator).double()
    layer = FoldedLayer("conv2d", kernel=3, stride=2, padding=1)
    every = torch.nn.functional.unfold(x, 3, padding=1, stride=2)  # (N, K, L), 4 x 3 positions
    flat = torch.tensor([[0, 5], [11, 2], [7, 7]])
    patches = reconstruction._patches(layer, x, (flat // 3, flat % 3))
    expected = [every[n, :, place] for n in range(3) for place in flat[n].tolist()]
    assert torch.equal(patches, torch.stack(expected))
    mean = reconstruction.mean_inputs(layer, x)
    assert torch.equal(mean, every.sum((0, 2)) / every.shape[2] / 3) or torch.allclose(
        mean, every.mean((0, 2)), rtol=1e-15
    )


def test_a_shift_of_means_is_summed_exactly() -> None:
    weight = torch.tensor([[1e16, 1.0, -1e16]], dtype=torch.float64)
    ones, zero = torch.ones(3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    assert reconstruction.mean_difference((weight, ones), (zero, ones)).tolist() == [1.0]
    assert reconstruction.mean_difference((zero, ones), (weight, 2 * ones)).tolist() == [-2.0]
