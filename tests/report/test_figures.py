"""The figures: they draw what was measured, and can be read."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import matplotlib
import metrics_tree
import pytest
from closure import ROOT
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from powtwo.report import page, results
from powtwo.report.figures import heatmaps, pareto, style, training


def test_training_curves_draw_the_epochs(run: results.Results, figures: dict[str, Figure]) -> None:
    loss, accuracy = figures["training"].axes
    for axes, key, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        drawn = [list(line.get_ydata()) for line in axes.get_lines()]
        assert drawn == [
            [factor * row[f"{part}_{key}"] for row in run.epochs]
            for part in ("train", "validation")
        ]


def test_one_epoch_can_be_drawn(run: results.Results, tmp_path: Path) -> None:
    style.save_png(training.curves(run.epochs[:1]), tmp_path / "a.png")


def test_intervals_stand_in_the_picture(run: results.Results, figures: dict[str, Figure]) -> None:
    axes = figures["schemes"].axes[0]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    for scheme in run.schemes:
        uj, low, high = (scheme[key] for key in ("energy_uj", "accuracy_low", "accuracy_high"))
        assert ([uj, uj], [100 * low, 100 * high]) in drawn
        assert ([uj], [100 * scheme["accuracy"]]) in drawn
        assert axes.get_ylim()[0] < 100 * low < 100 * high < axes.get_ylim()[1]


def test_energy_of_layers_adds_up(run: results.Results, figures: dict[str, Figure]) -> None:
    left, right = figures["energy"].axes
    float_bars, integer_bars = ([bar.get_width() for bar in bars] for bars in left.containers)
    assert sum(float_bars) == pytest.approx(run.best.metrics["energy"]["float_uj"])
    assert sum(integer_bars) == pytest.approx(run.best["energy_uj"])
    stacked = [sum(bar.get_width() for bar in bars) for bars in zip(*right.containers, strict=True)]
    assert stacked == pytest.approx(integer_bars)


def test_histograms_draw_the_counts_and_the_limits(
    run: results.Results, figures: dict[str, Figure]
) -> None:
    drawn = figures["histograms"].axes
    assert len(drawn) == 2 * 4
    rows = run.best.plots["histograms"]
    for axes, tensor in zip(drawn[2:4], ("weight", "output"), strict=True):
        bins = [row for row in rows if (row["layer"], row["tensor"]) == (2, tensor)]
        (stairs,) = axes.patches
        assert stairs.get_data().values.tolist() == [row["count"] for row in bins]
        assert stairs.get_data().edges.tolist()[:-1] == [row["low"] for row in bins]
        limits = [line.get_xdata()[0] for line in axes.get_lines()]
        assert limits == [bins[0]["code_low"], bins[0]["code_high"]]
    assert [text.get_text() for text in drawn[-1].texts] == ["int32: no codes"]


def test_confusion_counts_each_pair(run: results.Results, figures: dict[str, Figure]) -> None:
    pairs = Counter((r["actual"], r["predicted"]) for r in run.best.plots["predictions"])
    texts = figures["confusion"].axes[0].texts
    assert {
        (str(round(text.get_position()[1])), str(round(text.get_position()[0]))): text.get_text()
        for text in texts
    } == {pair: str(count) for pair, count in pairs.items()}


def test_sqnr_is_dark_where_it_is_low(run: results.Results, figures: dict[str, Figure]) -> None:
    axes = figures["sqnr"].axes[0]
    rows = [row for scheme in run.schemes for row in scheme.plots["layers"]]
    assert [text.get_text() for text in axes.texts] == [f"{row['sqnr_db']:.1f}" for row in rows]
    colors = axes.collections[0].get_array().T.ravel().tolist()
    assert min(range(12), key=lambda i: rows[i]["sqnr_db"]) == colors.index(max(colors))


def test_sensitivity_draws_losses_above_and_gains_below(tmp_path: Path) -> None:
    schemes = ("lab", "minmax-ceil", "shift")
    metrics_tree.write(tmp_path)
    metrics_tree.forget_sensitivity(tmp_path, ["lab"])
    quantized = [0.94, 0.93, 0.95, 0.90]  # of the float network's 0.94
    metrics_tree.change_csv(tmp_path / "plots/layers/shift.csv", accuracy_quantized_alone=quantized)
    run = results.read(tmp_path, schemes)
    lost, gained = heatmaps.sensitivity(run).axes
    for axes, alone, sign in ((lost, "quantized", -1), (gained, "float", 1)):
        rows = [row for scheme in run.schemes for row in scheme.layer_sensitivity()]
        points = [sign * row.points for row in rows if row.alone == alone]
        (mesh,) = axes.collections
        assert mesh.get_array().T.ravel().tolist() == points
        assert mesh.get_clim() == pytest.approx((0, 5))  # one image is a point, and stays pale
        assert [label.get_text() for label in axes.get_xticklabels()] == ["minmax-ceil", "shift"]
        assert axes.get_yticklabels()[1].get_text() == "2 conv2d"
    assert [text.get_text() for text in lost.texts][-4:] == ["0.0", "1.0", "−1.0", "4.0"]


def test_many_schemes_and_classes_can_be_drawn(tmp_path: Path) -> None:
    names = [f"scheme-{index}" for index in range(20)]
    metrics_tree.write(tmp_path, names, [f"class {index}" for index in range(25)])
    drawn = page.draw_figures(results.read(tmp_path, names))
    assert len(drawn["confusion"].axes[0].get_xticklabels()) == 25
    labels = [text.get_text().split("\n") for text in drawn["schemes"].axes[0].texts]
    assert sorted(chain(*labels)) == sorted([*names, "FP32", *[""] * labels.count([""])])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_labels_keep_distance_and_order(wanted: list[float], gap: float) -> None:
    placed = style.space_labels(wanted, gap)
    least = min(gap, 1 / max(1, len(wanted) - 1))
    assert all(-1e-9 <= y <= 1 + 1e-9 for y in placed)
    assert all(b - a >= least - 1e-9 for a, b in pairwise(sorted(placed)))
    ordered = sorted(zip(wanted, placed, strict=True))
    assert all(a[1] < b[1] for a, b in pairwise(ordered) if a[0] < b[0])


def test_labels_move_no_more_than_they_must() -> None:
    assert style.space_labels([0.5, 0.1, 0.9], 0.1) == pytest.approx([0.5, 0.1, 0.9])
    assert style.space_labels([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert style.space_labels([1.0, 1.0], 0.2) == pytest.approx([0.8, 1.0])


def test_pareto_front_by_hand() -> None:
    points = [(2.0, 90.0), (1.0, 80.0), (3.0, 85.0), (2.0, 89.0), (4.0, 90.0), (1.0, 80.0)]
    assert pareto.pareto_front(points) == [(1.0, 80.0), (2.0, 90.0)]


def test_numbers_stand_out_on_every_color_of_a_heatmap() -> None:
    def luminance(color: object) -> float:
        channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                    for c in matplotlib.colors.to_rgb(color)]  # fmt: skip
        return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]

    for step in range(257):
        ground, ink = heatmaps.CELL_COLORS(step / 256), heatmaps.cell_ink(step, 256)
        dark, light = sorted(luminance(color) for color in (ground, ink))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, step
        assert matplotlib.colors.to_hex(ground) not in style.CSS_VARIABLES  # changed in the dark


@pytest.mark.slow
def test_the_report_needs_no_torch() -> None:
    code = "import sys, powtwo.report.page; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)
