"""What quantization costs: accuracy, its statistics, and where in the network it is lost.

comparison     two networks' classes on the same images; McNemar's test, intervals
float_classes  the file of the float network's classes
layer_quality  SQNR, clipped values and histograms of each layer
sensitivity    accuracy with one layer quantized alone, and with one left in float alone
zeros          products with a zero operand, which hardware may skip; of the float network
integer_zeros  those of the integer network
params         the section `evaluate` of params.yaml
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "comparison": ["classify", "compare", "paired_interval", "predictions", "wilson_interval"],
        "layer_quality": ["CodeHistogram", "LayerQuality", "LayerStats", "measure_layers"],
        "sensitivity": ["LayerAlone", "Sensitivity", "measure_sensitivity"],
        "zeros": ["Zeros", "float_zeros"],
        "integer_zeros": ["count_integer_zeros"],
        "params": ["Evaluate"],
    },
)
