"""The picture of accuracy against energy: its front, its points, and their names."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes

from powtwo.report import systems
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


def diamonds(axes: Axes) -> list[tuple[float, float]]:
    lines = [line for line in axes.get_lines() if line.get_marker() == "D"]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def test_chips_are_drawn_apart_at_what_they_measured() -> None:
    chips = {system.name: system.row for system in systems.read().systems}
    rows = {"cheap": scheme_row(5, 0.85), "good": scheme_row(17, 0.89)}
    figure = pareto.accuracy_and_energy(rows, "good", scheme_row(244, 0.893), chips)
    axes = figure.axes[0]
    assert diamonds(axes) == [(2.72, 86), (3.8, 86), (14.4, 86)]
    assert {"TCN-CUTIE", "Bankman", "BinarEye"} <= {text.get_text() for text in axes.texts}
    blue = [line for line in axes.get_lines() if line.get_color() == style.BLUE]
    assert {float(line.get_xdata()[0]) for line in blue} >= {5.0, 17.0}  # no chip beats a scheme
    (legend,) = figure.legends
    assert legend.get_texts()[-1].get_text() == "chips on CIFAR-10, whole systems"


def test_chips_far_below_have_their_accuracy_written() -> None:
    chips = {system.name: system.row for system in systems.read().systems}
    rows = {str(index): scheme_row(5 + index, 0.97 + index / 1000) for index in range(4)}
    axes = pareto.accuracy_and_energy(rows, "3", scheme_row(244, 0.98), chips).axes[0]
    bottom = axes.get_ylim()[0]
    assert bottom > 90
    assert {y for _, y in diamonds(axes)} == {bottom}
    assert {"TCN-CUTIE: 86", "Bankman: 86"} <= {text.get_text() for text in axes.texts}


def test_no_chip_is_drawn_beside_digits() -> None:
    assert systems.beside({"name": "mnist5k"}) == {}
    assert list(systems.beside({"name": "images"})) == ["TCN-CUTIE", "Bankman", "BinarEye"]


def test_every_system_says_where_its_figures_are_from() -> None:
    about = systems.read()
    assert "1.24" in about.caveat
    assert "arXiv 2409.20403" in about.caveat_source
    assert about.markdown.endswith("(https://arxiv.org/abs/2409.20403)).")
    for system in about.systems:
        assert system.url.startswith("https://")
        assert system.source.split()[-1] in system.url
