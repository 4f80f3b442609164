"""What a run knows of its float network, as of a scheme."""

from __future__ import annotations

from scipy.stats import binomtest

from powtwo.report.results import Results, Row


def fp32_row(results: Results) -> Row:
    """Return the arithmetic energy of FP32 in µJ, and its test accuracy with Wilson's 95% interval.

    Returns:
        `energy_uj`, `accuracy`, `accuracy_low` and `accuracy_high`, the last three as fractions.
    """
    images = int(results.best.metrics["evaluate"]["test_images"])
    right = round(results.float_accuracy * images)
    interval = binomtest(right, images).proportion_ci(method="wilson")
    return {
        "energy_uj": float(results.best.metrics["energy"]["float_uj"]),
        "accuracy": results.float_accuracy,
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
    }
