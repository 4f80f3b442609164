"""PowTwo: power-of-two quantization, from a float network to integers and shifts."""

__version__ = "0.1.0"
