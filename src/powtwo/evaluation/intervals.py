"""95 % confidence intervals of an accuracy, and of the difference of two on the same images.

Sources:
1. Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953: the score interval of a proportion
2. Bonett and Price 2012, https://doi.org/10.3102/1076998611411915: the adjusted Wald interval of a
   difference of paired proportions; recommended for its coverage, also with few images that differ,
   by Fagerland et al. 2014, https://doi.org/10.1002/sim.6148
"""

from __future__ import annotations

import math

Z = 1.959963984540054  # 97.5 % of a normal distribution lie below


def of_fraction(right: int, total: int) -> tuple[float, float]:
    """Return the lowest and the highest plausible fraction where `right` of `total` were seen.

    Wilson's score interval (source 1): it stays within [0, 1] and has a width at 0 and 1 too.

    Raises:
        ValueError: where `total` is not above 0, or `right` is not within 0 … `total`.
    """
    if total <= 0 or not 0 <= right <= total:
        raise ValueError(f"right = {right}, total = {total}: must have 0 <= right <= total, not 0")
    middle = (right + Z**2 / 2) / (total + Z**2)
    half = Z / (total + Z**2) * math.sqrt(right * (total - right) / total + Z**2 / 4)
    # At either end the sums cancel exactly on paper, and not in floats.
    low = 0.0 if right == 0 else middle - half
    high = 1.0 if right == total else middle + half
    return low, high


def of_paired_difference(more: int, fewer: int, total: int) -> tuple[float, float]:
    """Return the lowest and the highest plausible difference of two paired fractions.

    The estimate is (more − fewer) / total; one is added to either count and two to the total
    (source 2).

    Args:
        more: images that count for the first alone.
        fewer: images that count for the second alone.
        total: all images.

    Raises:
        ValueError: where `total` is not above 0, or the counts exceed it.
    """
    if total <= 0 or min(more, fewer) < 0 or more + fewer > total:
        raise ValueError(
            f"more = {more}, fewer = {fewer}, total = {total}: both counts must be 0 or above, "
            "and their sum at most the total, not 0"
        )
    first, second = (more + 1) / (total + 2), (fewer + 1) / (total + 2)
    middle = first - second
    half = Z * math.sqrt((first + second - middle**2) / (total + 2))
    return max(-1.0, middle - half), min(1.0, middle + half)
