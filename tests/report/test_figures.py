"""The figures: they draw what was measured, and can be read."""

from __future__ import annotations

import re
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
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from powtwo.evaluation.comparison import wilson_interval
from powtwo.report import page, results
from powtwo.report.figures import energy, heatmaps, style, training
from powtwo.report.fp32 import fp32_row


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
    images = run.download["test_images"]
    low, high = wilson_interval(round(images * run.float_accuracy), images)
    fp32 = fp32_row(run)
    assert (fp32["accuracy_low"], fp32["accuracy_high"]) == pytest.approx((low, high))
    for row in (*(scheme.row for scheme in run.schemes), fp32):
        uj, low, high = (row[key] for key in ("energy_uj", "accuracy_low", "accuracy_high"))
        assert ([uj, uj], [100 * low, 100 * high]) in drawn
        assert ([uj], [100 * row["accuracy"]]) in drawn
        assert axes.get_ylim()[0] < 100 * low < 100 * high < axes.get_ylim()[1]


def test_each_layer_has_its_energies_as_points_and_in_digits(
    run: results.Results, figures: dict[str, Figure]
) -> None:
    upper, _ = figures["energy"].axes
    of_float, of_integers = ([float(x) for x in line.get_xdata()] for line in upper.get_lines())
    assert sum(of_float) == pytest.approx(run.best.metrics["energy"]["float_uj"])
    assert sum(of_integers) == pytest.approx(run.best["energy_uj"])
    assert upper.get_xscale() == "log"  # so that the smallest can be seen
    written = [text.get_text() for text in upper.texts]
    expected = (["FP32", *of_float], ["integer", *of_integers])
    assert written == [
        value if isinstance(value, str) else f"{value:,.4f}" for column in expected
        for value in column
    ]  # fmt: skip
    names = [label.get_text() for label in upper.get_yticklabels()]
    assert names == ["conv 1", "conv 2", "linear 1", "linear 2"]


def test_operations_share_each_layer_s_energy(figures: dict[str, Figure]) -> None:
    _, lower = figures["energy"].axes
    sums = [sum(bar.get_width() for bar in bars) for bars in zip(*lower.containers, strict=True)]
    assert sums == pytest.approx([100.0] * 4)
    texts = [text.get_text() for text in lower.get_legend().get_texts()]
    # Of no layer can requantizing be seen: its bar says so.
    assert max(bar.get_width() for bar in lower.containers[3]) < 0.5
    assert texts == ["multiply", "accumulate", "zero point", "requantize (<0.5%)", "bias"]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0002, 43.4], [1e-4, 1e-2, 1, 100]),
        ([0.2, 0.3], [0.1, 1]),
        ([1.0], [0.1, 1]),
        ([3e-6, 20], [1e-6, 1e-4, 1e-2, 1, 100]),
    ],
)
def test_all_energies_lie_between_ticks(values: list[float], ticks: list[float]) -> None:
    assert energy.decades(values) == pytest.approx(ticks)
    assert ticks[0] <= min(values) <= max(values) <= ticks[-1]


def test_nothing_of_a_figure_is_cut(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        figure.canvas.draw()
        parts: list[Artist] = [*figure.texts, *figure.legends]
        for axes in figure.axes:
            parts += [axes.title, axes.xaxis.label, *axes.texts]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
                parts += [label for place, label in ticks if low <= place <= high]
        for part in parts:
            extent = part.get_window_extent()
            if extent.width:
                seen = Bbox.intersection(extent, figure.bbox)
                assert seen is not None, (name, part)
                assert seen.width >= extent.width - 1, (name, part)


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
    (legend,) = figures["histograms"].legends
    explained = [text.get_text() for text in legend.get_texts()]
    assert explained == ["how many (logarithmic)", "lowest and highest code"]


def test_confusion_counts_each_pair(run: results.Results, figures: dict[str, Figure]) -> None:
    pairs = Counter((r["actual"], r["predicted"]) for r in run.best.plots["predictions"])
    texts = figures["confusion"].axes[0].texts
    assert {
        (str(round(text.get_position()[1])), str(round(text.get_position()[0]))): text.get_text()
        for text in texts
    } == {pair: str(count) for pair, count in pairs.items()}


def test_sqnr_is_strong_where_it_is_low(run: results.Results, figures: dict[str, Figure]) -> None:
    axes = figures["sqnr"].axes[0]
    rows = [row for scheme in run.best_first for row in scheme.plots["layers"]]
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
        rows = [row for scheme in run.best_first for row in scheme.layer_sensitivity()]
        points = [sign * row.points for row in rows if row.alone == alone]
        (mesh,) = axes.collections
        assert mesh.get_array().T.ravel().tolist() == list(map(abs, points))
        assert mesh.get_clim() == pytest.approx((0, 5))  # one image is a point, and stays pale
        names = [label.get_text().strip() for label in axes.get_xticklabels()]
        assert names == ["shift", "minmax-ceil"]
        assert axes.get_yticklabels()[1].get_text() == "conv 2"
    assert [text.get_text() for text in lost.texts][:4] == ["0.00", "1.00", "−1.00", "4.00"]


def test_sensitivities_that_are_all_nothing_are_not_drawn(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab"])
    metrics_tree.change_row(
        tmp_path / "plots/accuracy/lab.csv", "part", "sensitivity",
        float_accuracy=0.94, accuracy=0.94,
    )  # fmt: skip
    (axes,) = heatmaps.sensitivity(results.read(tmp_path, ["lab"])).axes
    (text,) = axes.texts
    assert text.get_text() == "no layer alone changes the accuracy on 100 images"


def test_names_stand_upright_only_where_they_do_not_fit(tmp_path: Path) -> None:
    for names, angle in ((["lab", "minmax-ceil"], 0), ([f"scheme{i}" for i in range(7)], 90)):
        metrics_tree.write(tmp_path / str(angle), names)
        (axes,) = heatmaps.sqnr(results.read(tmp_path / str(angle), names)).axes
        assert {label.get_rotation() for label in axes.get_xticklabels()} == {angle}


def test_many_schemes_and_classes_can_be_drawn(tmp_path: Path) -> None:
    names = [f"scheme-{index}" for index in range(20)]
    metrics_tree.write(tmp_path, names, [f"class {index}" for index in range(25)])
    drawn = page.draw_figures(results.read(tmp_path, names))
    assert len(drawn["confusion"].axes[0].get_xticklabels()) == 25
    axes = drawn["schemes"].axes[0]
    written = Counter(chain(*(re.split(r"[\s=]+", text.get_text()) for text in axes.texts)))
    del written[""]  # leaders
    assert written == Counter([*names, "FP32"]) & written
    assert {"FP32", results.read(tmp_path, names).best.name} <= written.keys()


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


def test_intervals_stand_out_in_light_and_dark(figures: dict[str, Figure]) -> None:
    lines = [line for line in figures["schemes"].axes[0].get_lines() if len(line.get_xdata()) == 2]
    assert {(line.get_color(), line.get_alpha()) for line in lines} == {(style.FAINT, None)}
    for colors in light_and_dark():
        low, high = sorted(luminance(colors[f"--{name}"]) for name in ("paper", "faint"))
        assert (high + 0.05) / (low + 0.05) >= 3


def light_and_dark() -> list[dict[str, str]]:
    """Return the colors of the page by name, in light and in dark."""
    css = (ROOT / "src/powtwo/report/templates/page.css").read_text(encoding="utf-8")
    return [dict(re.findall(r"(--\w+): (#\w{6})", block)) for block in css.split("@media")[:2]]


def luminance(color: str) -> float:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                for c in matplotlib.colors.to_rgb(color)]  # fmt: skip
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def test_numbers_stand_out_on_every_color_of_a_heatmap_in_light_and_dark() -> None:
    light, dark = light_and_dark()
    assert {color: light[name] for color, name in style.CSS_VARIABLES.items()
            if name.startswith("--heat") or name in ("--ink", "--paper", "--quiet")} == {
        color: color for color in (*style.HEAT, style.INK, style.PAPER, style.QUIET)
    }  # fmt: skip
    for colors in (light, dark):
        grounds = []
        for step, color in enumerate(style.HEAT):
            ink = heatmaps.cell_ink(step + 0.5, len(style.HEAT))
            ground, text = (luminance(colors[style.CSS_VARIABLES[c]]) for c in (color, ink))
            low, high = sorted((ground, text))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (step, color)
            grounds.append(ground)
        paper = luminance(colors["--paper"])
        away = [abs(ground - paper) for ground in grounds]
        assert away == sorted(away)  # pale is near paper: no white cells in the dark


@pytest.mark.slow
def test_the_report_needs_no_torch() -> None:
    code = "import sys, powtwo.report.page; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)
