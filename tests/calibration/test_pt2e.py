"""PT2E with our observers gives our codes for `half_even`, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from networks import ROUNDINGS
from small_vgg import IMAGES, calibration, scheme, trained
from torch import Tensor, nn

from powtwo.conversion.scheme import Scheme
from powtwo.conversion.to_integer import convert
from powtwo.dataset.normalization import Normalization
from powtwo.integer.network import IntegerNetwork

pytest.importorskip("torchao", reason="torchao is not installed: pip install powtwo[torchao]")

from mutations import MUTATIONS
from runtimes import values
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from powtwo import pt2e

CHECKPOINT = trained(8, "M", 12, 12, "M", 16, "M")


def half_even(observer: str = "minmax-ceil", **options: Any) -> Scheme:
    return scheme(observer, rounding="half_even", **options)


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("weights", {"kind": "power_of_two", "bits": 4}),
        ("weights", {"per": "channel"}),
        ("weights", {"rounding": "learned"}),
        ("activations", {"zero_point": 0}),
        ("", {"bias": "floor"}),
        ("", {"equalize": True}),
        ("", {"bias_correction": True}),
        ("", {"layers": {"first": {"weights": 4}}}),
    ],
)
def test_an_option_that_pt2e_cannot_say_is_refused(section: str, options: dict[str, Any]) -> None:
    values = half_even().model_dump()
    (values[section] if section else values).update(options)
    name = f"{section}." * bool(section) + next(iter(options))
    with pytest.raises(ValueError, match=f"^{re.escape(name)}.*: PT2E has no word for it"):
        pt2e.PowerOfTwoQuantizer(Scheme.model_validate(values))


@pytest.mark.parametrize("rounding", ["floor", "half_up"])
def test_a_shift_that_pt2e_does_not_round_by_is_refused(rounding: str) -> None:
    with pytest.raises(ValueError, match=f"^rounding = {rounding}: .*; set half_even"):
        pt2e.PowerOfTwoQuantizer(scheme(rounding=rounding))


@dataclass
class Pair:
    """The same network quantized twice: by this project and by torchao."""

    ours: IntegerNetwork
    theirs: torch.fx.GraphModule
    values: Tensor  # float32 (N, 3, 32, 32), what the networks see of the pixels


def quantize(options: Scheme, kind: str = "dyadic") -> Pair:
    plain = ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3)) if kind == "standard" else ()
    checkpoint = replace(CHECKPOINT, normalization=Normalization(kind, *plain))
    calibrated = calibration(options, checkpoint)
    network = pt2e.float_network(calibrated.folded)
    x = checkpoint.normalization(IMAGES)
    batch = ({0: torch.export.Dim("N")},)
    exported = torch.export.export(network, (x,), dynamic_shapes=batch, strict=True).module()
    prepared = prepare_pt2e(exported, pt2e.PowerOfTwoQuantizer(options, kind == "dyadic"))
    for part in x.split(8):
        prepared(part)
    return Pair(convert(calibrated, "pt2e", options).network, convert_pt2e(prepared), x)


class CodeRecorder(torch.fx.Interpreter):
    """Runs a converted graph and keeps the integers that its quantize nodes give."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.codes: list[Tensor] = []

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if "quantized_decomposed.quantize_per_tensor" in str(node.target):
            self.codes.append(result)
        return result


def agrees(pair: Pair) -> bool:
    """Compare the codes of the input and of every layer, and the values of the logits."""
    interpreter = CodeRecorder(pair.theirs)
    logits = interpreter.run(pair.values)
    ours = [pair.ours.input.encode(IMAGES), *(codes for _, codes in pair.ours.outputs(IMAGES))]
    expected = values(pair.ours, ours[-1])
    if pair.ours.layers[-1].output is None:
        ours.pop()
    return equal(ours, interpreter.codes) and bool((torch.from_numpy(expected) == logits).all())


def equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


@pytest.fixture(scope="module")
def pair() -> Pair:
    return quantize(half_even())


def test_codes_and_logits_are_ours(pair: Pair) -> None:
    assert agrees(pair)


def test_weights_and_biases_are_our_integers(pair: Pair) -> None:
    frozen = [value for name, value in pair.theirs.named_buffers() if "_frozen" in name]
    computing = [layer for layer in pair.ours.layers if layer.has_weights]
    ours = [tensor for layer in computing for tensor in (layer.weight, layer.bias)]
    assert equal(ours, frozen)
    assert [tensor.dtype for tensor in frozen[:2]] == [torch.int8, torch.int32]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_reference_is_seen(
    pair: Pair, mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    MUTATIONS[mutation](monkeypatch)
    assert not agrees(pair)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (half_even("minmax-floor"), "dyadic"),
        (half_even("minmax-round"), "standard"),
        (half_even("minmax-ceil", bits=4, logits="codes"), "dyadic"),
    ],
    ids=["minmax-floor", "standard", "4 bits and coded logits"],
)
def test_other_schemes_agree_too(given: Scheme, kind: str) -> None:
    assert agrees(quantize(given, kind))


def test_the_labs_scheme_clamps_its_exponents() -> None:
    observer = pt2e.PowerOfTwoObserver(
        "lab", (-8, 0), dtype=torch.int8, quant_min=-127, quant_max=127
    )
    observer(torch.tensor([2.0**-20, -(2.0**-20)]))
    scale, zero_point = observer.calculate_qparams()
    assert (scale.item(), zero_point.item()) == (2.0**-8, 0)


def test_an_observer_of_uint8_has_its_zero_point_in_the_middle() -> None:
    observer = pt2e.PowerOfTwoObserver(dtype=torch.uint8, quant_min=0, quant_max=255)
    observer(torch.tensor([0.0, 127.5]))
    scale, zero_point = observer.calculate_qparams()
    assert (scale.item(), zero_point.item()) == (1.0, 128)


def test_an_operator_without_a_rule_is_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid())
    exported = torch.export.export(network, (torch.ones(1, 4),), strict=True).module()
    with pytest.raises(TypeError, match="aten.sigmoid.default: no rule"):
        prepare_pt2e(exported, pt2e.PowerOfTwoQuantizer(half_even()))


def test_half_even_is_the_rounding_of_pytorch(pair: Pair) -> None:
    kept = [r for r in ROUNDINGS if agrees(replace(pair, ours=replace(pair.ours, rounding=r)))]
    assert kept == ["half_even"]
