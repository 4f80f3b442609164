"""From a float network with exponents to integers.

scheme        what params.yaml may ask for, checked without PyTorch
finetune      its section on training on the integer grid
layer_config  what a scheme asks of each weighted layer
calibrated    the calibrated network, which conversion reads, and its file
schema        what its file may say
narrow        weights whose sums fit accumulators of few bits
to_integer    the conversion itself
weightless    of additions and averages
moves         exponents that it coarsened
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "calibrated": ["Calibrated", "CalibratedLayer"],
        "layer_config": ["LayerQuantConfig"],
        "moves": ["Move"],
        "narrow": ["WeightSums", "largest_sums"],
        "scheme": ["Accumulator", "Activations", "Quantizer", "Scheme", "Weights"],
        "to_integer": ["Conversion", "convert", "convert_layer", "metrics"],
    },
)
