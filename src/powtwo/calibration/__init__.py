"""Observers, exponents, equalization, learned rounding, bias correction."""
