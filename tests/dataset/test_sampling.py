"""Few images that stand for many: evenly spaced, none twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from powtwo.dataset.images import evenly_spaced as evenly


def test_by_hand() -> None:
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(3, 0) == []


@given(total=st.integers(1, 500), count=st.integers(1, 500))
def test_gaps_differ_by_one_at_most(total: int, count: int) -> None:
    indices = evenly(total, count)
    assert len(indices) == min(count, total)
    ends = [*indices, total]
    gaps = {after - before for before, after in zip(indices, ends[1:], strict=True)}
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1
