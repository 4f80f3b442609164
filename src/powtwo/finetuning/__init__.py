"""Training on the integer grid, from the calibrated network on.

loop              fine-tuning: what differs from training
network           the network on the grid, in every bit the integer one
grid_layer        what layers that add up share: exponents and requantizing
weighted          convolutions and linear layers
weightless        additions and averages
straight_through  rounding that gradients pass through
refit             exponents chosen anew
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "loop": ["FineTuning"],
        "network": ["GridNetwork"],
    },
)
