"""Accuracy against the float network, statistics, quality and sensitivity of layers."""
