"""Labels of points: none covers another, no leader crosses another, all stay in the frame."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from powtwo.report.figures import labels

FRAME = (260.0, 200.0)
SIZE = (40.0, 11.0)
POINT = st.tuples(st.floats(30, 230), st.floats(20, 180))


@settings(max_examples=20)
@given(st.lists(POINT, min_size=1, max_size=10, unique=True))
def test_labels_stay_in_the_frame_and_apart(points: list[tuple[float, float]]) -> None:
    placed = labels.place(points, [SIZE] * len(points), FRAME, [])
    frame = labels.Box(0, 0, *FRAME)
    for place, point in zip(placed, points, strict=True):
        assert place.start == point
        assert place.box.overlap(frame) > 0.999 * SIZE[0] * SIZE[1]
    tangled = [
        one.box.overlap(other.box) > 0 or labels.crosses(one, other)
        for one, other in combinations(placed, 2)
    ]
    assert sum(tangled) == 0


def test_a_label_stands_right_of_a_lone_point() -> None:
    (place,) = labels.place([(100, 100)], [SIZE], FRAME, [])
    assert place.distance == labels.DISTANCES[0]
    assert place.box == labels.Box(106, 94.5, 146, 105.5)


def test_a_label_avoids_what_lies_beside_its_point() -> None:
    obstacle = labels.Box(105, 90, 150, 110)
    (place,) = labels.place([(100, 100)], [SIZE], FRAME, [obstacle])
    assert place.box.overlap(obstacle) == 0


def test_crossing_leaders_are_noticed() -> None:
    box = labels.Box(0, 0, 1, 1)
    one = labels.Place(box, (0, 0), (10, 10), 0)
    assert labels.crosses(one, labels.Place(box, (0, 10), (10, 0), 0))
    assert not labels.crosses(one, labels.Place(box, (0, 10), (4, 6), 0))
