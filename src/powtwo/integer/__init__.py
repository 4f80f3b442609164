"""The arithmetic that defines what is right; the integer network, its file, its shapes.

rounding    what each rounding mode of a shift means
fixedpoint  codes, power-of-two scales, rounding shifts
layer       one layer of integers and its arithmetic
network     the input and the layers together: the reference
file        the network as safetensors
metadata    the same read without PyTorch, checked; schema: what it may say; checks: what must fit
tiles       sums of few bits, spilled into int32
geometry    what shape a layer makes of its input's
shapes      shapes and MACs of layers, read without PyTorch
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "rounding": ["Rounding"],
        "fixedpoint": ["Grid", "dequantize", "quantize", "shift"],
        "layer": ["ActivationQParams", "Layer", "WeightFormat", "accumulate", "requantize_output"],
        "network": ["Input", "IntegerNetwork"],
        "shapes": ["LayerShape"],
    },
)
