"""From the float network and a few images to an exponent for every tensor.

exponents         the whole: fold, equalize, observe, reconstruct
observers         a tensor's values to its exponents; clamp, granularity
statistics        what observers measure: minmax, percentile, mse, kl
restriction       a scale to the exponent of a power of two: floor, ceiling, nearest
histogram         counts that neither order nor batches of values change
equalization      ranges of channels moved between layers, by powers of two
reconstruction    layers brought back to the float network's outputs; bias correction
learned_rounding  each weight's code by the error of its layer's output
exact_float       the float network in sums that are exact
params            the section `calibrate` of params.yaml
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "exponents": ["calibrate", "sample"],
        "observers": ["Observer", "PerAxis", "PerTensor"],
        "statistics": ["HistogramStatistic", "SearchStatistic", "Statistic"],
        "equalization": ["equalize"],
        "reconstruction": ["reconstruct"],
        "params": ["Calibrate"],
    },
)
