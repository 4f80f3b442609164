"""Exponents that leave a channel's shift below 0 and another's above 31 at once."""

from __future__ import annotations

import torch

from powtwo.conversion.calibrated import CalibratedLayer
from powtwo.conversion.scheme import Activations, Scheme, Weights
from powtwo.conversion.to_integer import convert_layer
from powtwo.integer.layer import ActivationQParams
from powtwo.network.folded import FoldedLayer


def test_the_output_is_coarsened_first_and_counts_for_the_weights() -> None:
    folded = FoldedLayer("linear", torch.zeros(3, 2).double(), torch.zeros(3).double())
    layer = CalibratedLayer(folded, (0, -29, -40), output=ActivationQParams(-3))
    scheme = Scheme(weights=Weights(observer="any"), activations=Activations(observer="any"))
    converted = convert_layer(0, layer, ActivationQParams(0), scheme)  # n = −3, 26, 37
    assert converted.output == ActivationQParams(0)
    assert converted.weight_exponent == (0, -29, -31)
    assert converted.shift.tolist() == [0, 29, 31]
