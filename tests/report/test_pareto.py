"""The picture of accuracy against energy: its front, its points, and their names."""

from __future__ import annotations

import pytest

from powtwo.report.figures import pareto, style


def test_pareto_front_by_hand() -> None:
    points = [(2.0, 90.0), (1.0, 80.0), (3.0, 85.0), (2.0, 89.0), (4.0, 90.0), (1.0, 80.0)]
    assert pareto.pareto_front(points) == [(1.0, 80.0), (2.0, 90.0)]


def scheme_row(energy: float, accuracy: float) -> dict[str, float]:
    return {"energy_uj": energy, "accuracy": accuracy, "accuracy_low": accuracy - 0.01,
            "accuracy_high": accuracy + 0.01}  # fmt: skip


@pytest.mark.parametrize(
    ("accuracies", "below"),
    [
        ([0.98, 0.96, 0.87], {"2"}),
        ([0.98, 0.96, 0.94], set()),  # one after the other
        ([0.98, 0.975], set()),  # intervals are wider than the gap
        ([0.87, 0.86], set()),  # all but FP32: most of the picture
        ([0.98, 0.50, 0.30], set()),  # as many
        ([0.98, 0.97, 0.96, 0.50, 0.40], {"3", "4"}),
    ],
)
def test_a_scheme_far_below_does_not_stretch_the_axis(
    accuracies: list[float], below: set[str]
) -> None:
    rows = {str(index): scheme_row(10 + index, p) for index, p in enumerate(accuracies)}
    fp32 = scheme_row(244, 0.98)
    assert pareto.far_below(rows, fp32) == below
    axes = pareto.accuracy_and_energy(rows, "0", fp32).axes[0]
    texts = {text.get_text() for text in axes.texts}
    bottom = axes.get_ylim()[0]
    for index, accuracy in enumerate(accuracies):
        name = str(index)
        assert (bottom > 100 * accuracy) == (name in below)
        if name in below:  # its accuracy is written
            assert f"{name}: {100 * accuracy:.2f}" in texts


def test_markers_are_explained_and_a_dominated_name_without_room_is_left_out() -> None:
    rows = {f"dominated-{i}": scheme_row(10 + i / 5, 0.90 + i / 2000) for i in range(8)}
    figure = pareto.accuracy_and_energy(
        rows | {"best": scheme_row(9.8, 0.91)}, "best", scheme_row(244, 0.91)
    )
    texts = {line for text in figure.axes[0].texts for line in text.get_text().split("\n")}
    assert {"best", "FP32"} <= texts
    assert not rows.keys() <= texts
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["selected", "Pareto-optimal", "dominated"]


def test_few_schemes_are_all_named_and_those_shown_alike_are_one_point() -> None:
    rows = {f"dominated-{i}": scheme_row(10 + 9 * i, 0.90 - i / 500) for i in range(5)}
    # A millionth of a microjoule cheaper than its like, which is no less optimal for that.
    rows |= {"lab": scheme_row(9.8000004, 0.91), "round": scheme_row(9.8, 0.91)}
    axes = pareto.accuracy_and_energy(rows, "lab", scheme_row(244, 0.91)).axes[0]
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert sorted(texts) == ["FP32", *(f"dominated-{i}" for i in range(5)), "lab = round"]
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert sum(line.get_markersize() == 5 for line in dots) == 6
    blue = [line.get_xdata()[0] for line in dots if line.get_color() == style.BLUE]
    assert {float(x) for x in blue} == {9.8000004}
