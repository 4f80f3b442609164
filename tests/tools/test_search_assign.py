"""The exact choice of formats against every assignment, tried one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from powtwo.tools.search.assign import Assignment, Option, pareto

CODES = ("a4", "a8")
options = st.builds(
    Option,
    energy=st.fixed_dictionaries({codes: st.integers(0, 6) for codes in CODES}),
    loss=st.integers(-2, 6),
    gives=st.sampled_from(CODES),
)
chains = st.lists(st.lists(options, min_size=1, max_size=3), min_size=1, max_size=5)


def every(layers: Sequence[Sequence[Option]], reads: str) -> list[Assignment]:
    """Return every assignment with its sums."""
    listed = []
    for picks in product(*(range(len(each)) for each in layers)):
        energy, loss, codes = 0, 0, reads
        for layer, pick in zip(layers, picks, strict=True):
            energy, loss = energy + layer[pick].energy[codes], loss + layer[pick].loss
            codes = str(layer[pick].gives)
        listed.append(Assignment(energy, loss, picks))
    return listed


@given(layers=chains)
def test_the_front_is_that_of_all_assignments(layers: list[list[Option]]) -> None:
    found = pareto(layers, "a8")
    listed = every(layers, "a8")
    assert set(found) <= set(listed)
    undominated = {
        (each.energy, each.loss)
        for each in listed
        if not any(
            other.energy <= each.energy
            and other.loss <= each.loss
            and (other.energy, other.loss) != (each.energy, each.loss)
            for other in listed
        )
    }
    assert [each[:2] for each in found] == sorted(undominated)


@given(layers=chains)
def test_of_equals_the_first_options_are_kept(layers: list[list[Option]]) -> None:
    listed = every(layers, "a4")
    for each in pareto(layers, "a4"):
        equal = [other for other in listed if other[:2] == each[:2]]
        # Only assignments whose layer before gives the same codes are compared on the way.
        assert each == min(equal)


def test_codes_of_the_layer_before_decide_what_a_layer_costs() -> None:
    wide = Option({"a8": 1}, 0, "a8")
    narrow = Option({"a8": 2}, 0, "a4")
    reader = Option({"a8": 9, "a4": 1}, 0, "a8")
    assert pareto([[wide, narrow], [reader]], "a8") == [Assignment(3, 0, (1, 0))]
