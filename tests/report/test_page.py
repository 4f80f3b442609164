"""The page: each of its figures equals its source, and it stands alone."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import metrics_tree
import pytest
from metrics_tree import RECORDED
from report_page import FIGURES, Page, render, render_text, values_at

from powtwo.core import files
from powtwo.report import page, results, tables
from powtwo.report.columns import LAYER_COLUMNS, LAYER_RANGES, MISSING, uniform, words
from powtwo.report.figures import style
from powtwo.report.fp32 import fp32_row
from powtwo.report.tables import Cell, Table


def test_page_nests_and_ids_are_unique(html: str) -> None:
    elements = Page(html).elements
    assert html.startswith("<!DOCTYPE html>")
    assert Counter(tag for tag, _ in elements)["h1"] == 1
    ids = Counter(a["id"] for _, a in elements if "id" in a)
    assert [name for name, count in ids.items() if count > 1] == []
    used = set(re.findall(r"url\(#([^)]+)\)", html))
    used |= {(a["xlink:href"] or "")[1:] for _, a in elements if "xlink:href" in a}
    assert used
    assert used <= set(ids)


def test_page_needs_no_network(html: str) -> None:
    elements = Page(html).elements
    loading = {"src", "srcset", "data", "action", "poster"}
    assert [tag for tag, attributes in elements if loading & attributes.keys()] == []
    assert [a["href"] for tag, a in elements if tag == "link"] == ["data:,"]
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\"'\s)<]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_links_lead_to_files(tree: Path, html: str) -> None:
    hrefs = {a["href"] or "" for a in Page(html).all("a")}
    assert hrefs
    assert [href for href in hrefs if not (tree / "report" / href).resolve().is_file()] == []


def test_pictures_are_inline_and_described(html: str) -> None:
    drawn = Page(html).all("svg")
    assert len(drawn) == len(FIGURES)
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 40 for a in drawn)
    for svg in re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL):
        ElementTree.fromstring(svg)


def test_pictures_follow_light_and_dark(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    body = html[html.index("<body>") :]
    assert [color for color in style.CSS_VARIABLES if color in body] == []
    declared = Counter(re.findall(r"(--\w+):", html))
    assert set(declared.values()) == {2}  # light and dark
    assert set(re.findall(r"var\((--\w+)\)", html)) <= set(declared)


def test_every_number_equals_its_source(tree: Path, html: str) -> None:
    numbers = Page(html).numbers()
    for _, value, file, key in numbers:
        assert values_at(tree, file, key) == {value}, (file, key)
    counts = Counter((tag, file.rpartition("/")[0]) for tag, _, file, _ in numbers)
    schemes, layers = len(RECORDED), 4
    assert counts == {
        # seven columns; accuracy and drop in the overview too; of FP32 one in each
        ("td", "metrics/evaluate"): schemes * (7 + 2) + 2,
        ("td", "plots/accuracy"): schemes * 3,  # where two intervals begin; validation accuracy
        ("td", "metrics/convert"): schemes * 2,
        # two columns of the comparison and of the overview, four comparators, FP32, two totals
        ("td", "plots/totals"): schemes * (2 + 2 + 4 + 1 + 2) + 2,
        # conventions; under two tables: four, two sums, two kinds of tensors in five places; a node
        ("td", "plots/assumptions"): schemes * (4 + 2 * (4 + 2 + 2 * 5) + 1),
        ("td", "plots/zeros"): schemes * layers * 3,
        ("th", "plots/zeros"): schemes * layers,
        ("td", "plots"): schemes * layers,  # the zeros of FP32
        ("td", "metrics"): 3,  # the size of the float network twice, its validation accuracy
        # a count, a price and an energy a term; what each layer reads and writes, float and integer
        ("td", "plots/energy"): 3 * (9 + 7 + 6) + schemes * layers * 6,
        ("th", "plots/energy"): schemes * layers,
        ("td", "plots/conventions"): schemes * layers * 4,
        ("th", "plots/conventions"): schemes * layers,
        # the last layer of two schemes lacks clipped outputs, output bits and exponent, and shift
        ("td", "plots/layers"): schemes * layers * 11 - 2 * 4,
        ("th", "plots/layers"): schemes * layers,
        ("data", "metrics/evaluate"): 2 + 5,
        ("data", "plots/accuracy"): 4 + 3 * schemes,
        ("data", "plots/totals"): 1 + 4,
    }


def test_titles_of_columns_say_what_the_cells_hold(run: results.Results) -> None:
    expected = {"layer": "layer"} | {column.title: column.key for column in LAYER_COLUMNS}
    expected |= {title: f"{key}_min" for key, title in LAYER_RANGES.items()}
    table = tables.layers(run.schemes[0])
    assert len(table.rows) == 4
    for row in table.rows:
        keys = [cell.source.rpartition(", ")[2] for cell in row]
        assert dict(zip(table.titles, keys, strict=True)) == expected
    for table in (f(run.schemes[0]) for f in (tables.conventions_by_layer, tables.memory_by_layer)):
        for row in table.rows:
            for title, cell in list(zip(table.titles, row, strict=True))[1:]:
                names = title.lower().removesuffix(", pj").replace(" ", "_").split(":_")
                assert cell.source.split(", ")[1 : 1 + len(names)] == names


def test_a_layer_shows_the_range_of_its_channels_and_a_dash_for_what_it_lacks(
    run: results.Results,
) -> None:
    first, *_, last = tables.layers(run.schemes[2]).rows
    assert [cell.text for cell in first[-2:]] == ["−7 to −6", "7 to 8"]
    assert [cell.text for cell in last[-2:]] == ["−8", MISSING]
    assert sum(cell.text == MISSING for cell in last) == 4


def test_ratios_of_one_row_assume_the_same(tmp_path: Path) -> None:
    schemes = {"lab": {"lab": 2.0, "qtools": 3.0}, "minmax-ceil": {"qtools": 4.0}}
    metrics_tree.write(tmp_path, list(schemes))
    for name, ratios in schemes.items():
        rows = [
            (table, varied, value, f"of {varied}", ratio * factor)
            for table, ratio in ratios.items()
            for varied, value, factor in (("zero_point", "folded", 1), ("weights_in", "dram", 10))
        ]  # fmt: skip
        columns = ("table", "varied", "value", "ratio_of", "ratio")
        files.write_csv(tmp_path / f"plots/assumptions/{name}.csv", columns, rows)
    table = tables.energy_assumptions(results.read(tmp_path, list(schemes)))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["zero point: folded", "lab", "of zero point", MISSING, "2.0"],
        ["weights in: DRAM", "lab", "of weights in", MISSING, "20.0"],
        ["zero point: folded", "qtools", "of zero point", "4.0", "3.0"],
        ["weights in: DRAM", "qtools", "of weights in", "40.0", "30.0"],
    ]


def test_both_tables_of_schemes_begin_with_the_best_and_end_with_fp32(run: results.Results) -> None:
    fp32 = fp32_row(run)
    overview, compared = (
        tables.overview(run, dict.fromkeys(RECORDED, "")),
        tables.compare_schemes(run),
    )
    low, high = fp32["accuracy_low"], fp32["accuracy_high"]
    assert overview.total[1].half == f"± {50 * (high - low):.2f}"
    assert compared.total[2].text == f"{100 * low:.2f} to {high:.2%}"
    for table in (overview, compared):
        assert [row[0].text for row in table.rows] == ["shift", "lab", "minmax-ceil"]
        cells = {title: cell.text for title, cell in zip(table.titles, table.total, strict=True)}
        energy, size = cells["energy, µJ"], cells.get("size, MB") or cells["file, MB"]
        assert (cells["scheme"], energy) == ("FP32", f"{fp32['energy_uj']:,.3f}")
        ratio = cells.get("ratio") or cells["energy ratio"]
        assert (cells["drop, points"], ratio) == (MISSING, "1")
        assert size == f"{run.train['size_mb']:.2f}"
        assert len(table.total) == len(table.titles)


def test_every_column_of_numbers_has_one_format(run: results.Results) -> None:
    scheme = run.best
    drawn = [tables.compare_schemes(run), tables.layers(scheme), tables.zero_points(run),
             tables.conventions_by_layer(scheme), tables.memory_by_layer(scheme),
             *(tables.last_layer_terms(scheme, kind) for kind in ("float", "integer"))]  # fmt: skip
    for table in drawn:
        for column in range(1, len(table.titles)):
            texts = [row[column].text for row in (*table.rows, table.total) if row]
            texts = [text for text in texts if text != "1"]  # the ratio of FP32 to itself
            decimals = {
                len(text.partition(".")[2].rstrip("%"))
                for text in texts if re.fullmatch(r"−?[\d,]+(\.\d+)?%?", text)
            }  # fmt: skip
            assert len(decimals) <= 1, (table.titles[column], texts)
            assert not any("e+" in text or "e-" in text for text in texts)


def test_names_of_files_are_shown_in_words(html: str) -> None:
    expected = {"sram_8kb": "8 kB SRAM", "sram_1mb": "1 MB SRAM", "dram_high": "DRAM high",
                "msb_flip": "MSB flip",
                "per_use": "per use", "int4x8_shift": "INT4×8 shift", "uint8_add": "UINT8 add",
                "fp32_multiply": "FP32 multiply", "of what it was": "of what it was"}  # fmt: skip
    assert {key: words(key) for key in expected} == expected
    body = re.sub(r"<(style|script|svg).*?</\1>|<a .*?</a>", "", html, flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", "", body)  # keys are in titles
    assert re.findall(r"\w+_\w+", body) == []


def test_the_first_screen_and_its_fold_give_one_rule_of_selection(html: str) -> None:
    text = " ".join(re.sub("<[^>]+>", "", html).split())
    assert (
        len(re.findall("the cheapest (scheme )?within one standard error of the best on", text))
        == 2
    )
    first_screen = html[
        html.index('<section id="comparison">') : html.index('<details id="evidence">')
    ]
    assert "<figcaption>" not in first_screen
    assert "plots/schemes.csv" not in first_screen
    assert "half the width of the 95% Wilson interval" in first_screen


def test_tables_of_terms_say_which_arithmetic_they_are_of(run: results.Results, html: str) -> None:
    for kind in ("float", "integer"):
        table = tables.last_layer_terms(run.best, kind)
        assert (table.caption, table.titles[0]) == (kind, "term")
        assert html.count(f"<caption>{kind}</caption>") == len(RECORDED)


def test_a_column_has_no_more_decimals_than_it_needs() -> None:
    assert uniform([4736.0, 9.0]) == ",.0f"
    assert uniform([256.0, 38.4, 0.1]) == ",.1f"
    assert uniform([0.2, 0.025, None]) == ",.3f"
    assert uniform([1 / 3, 0.0]) == ",.4f"


def test_layers_are_named_by_kind_and_place(run: results.Results) -> None:
    assert run.best.layer_names == {0: "conv 1", 2: "conv 2", 5: "linear 1", 6: "linear 2"}
    assert [row[0].text for row in tables.layers(run.best).rows] == list(
        run.best.layer_names.values()
    )


@pytest.mark.parametrize(
    ("p_value", "told"), [(1.0, "p = 1.000."), (0.6875, "p = 0.688."), (3e-30, "p < 0.001.")]
)
def test_the_text_tells_p_and_which_drops_are_noise(
    tmp_path: Path, p_value: float, told: str
) -> None:
    metrics_tree.write(tmp_path)
    for name, low, high in (("lab", -0.5, 0.2), ("minmax-ceil", 0.1, 0.2), ("shift", -0.1, 0.1)):
        path = tmp_path / f"plots/accuracy/{name}.csv"
        metrics_tree.change_row(path, "part", "test", drop_points_low=low, drop_points_high=high)
        metrics_tree.change_json(tmp_path / f"metrics/evaluate/{name}.json", p_value=p_value)
    text = " ".join(re.sub("<[^>]+>", "", render_text(results.read(tmp_path, RECORDED))).split())
    assert f"by McNemar's exact test, {told} The accuracy drop" in text.replace("&lt;", "<")
    assert "The drop of shift, lab is within noise" in text
    assert "holds each weight as int8 whatever its bits" in text


def test_the_last_layer_shows_the_labs_answer(html: str) -> None:
    for text in ("10 × 128 = 1,280", ">5,888<", ">422.8<", ">38.4<"):
        assert text in html


@pytest.mark.parametrize(
    ("quantized", "left_in_float", "named"),
    [  # accuracies of 0.94 in float, and of 0.93 in integers
        ((0.94, 0.92, 0.93, 0.92), (0.93, 0.94, 0.97, 0.97),
         "conv 2 costs most, 2.00 points, and linear 1 gives most back, 4.00."),
        ((0.94, 0.95, 0.94, 0.94), (0.93, 0.92, 0.92, 0.93),
         "no layer costs any, and none gives any back."),
    ],
)  # fmt: skip
def test_the_picture_names_the_most_sensitive_layers(
    tmp_path: Path, quantized: list[float], left_in_float: list[float], named: str
) -> None:
    metrics_tree.write(tmp_path, ["shift"])
    metrics_tree.change_csv(
        tmp_path / "plots/layers/shift.csv",
        accuracy_quantized_alone=quantized, accuracy_float_alone=left_in_float,
    )  # fmt: skip
    drawn = Page(render_text(results.read(tmp_path, ["shift"]))).all("svg")
    (label,) = (label for svg in drawn if "alone" in (label := svg["aria-label"] or ""))
    assert label.endswith(f"Under shift {named}")


def test_a_scheme_without_sensitivity_says_so(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path)
    metrics_tree.forget_sensitivity(tmp_path, ["lab", "shift"])
    html = render_text(results.read(tmp_path, RECORDED))
    assert html.count("Sensitivity was not measured: ") == 2


def test_all_text_is_escaped(tmp_path: Path) -> None:
    macros = page.templates().get_template("macros.html.j2").module
    table = Table(["<u>"], [[Cell('<b>&"', 1.5, '<i>"')]])
    written = macros.data_table(table)  # type: ignore[attr-defined]
    assert ">&lt;u&gt;<" in written
    assert 'data-value="1.5" title="&lt;i&gt;&#34;">&lt;b&gt;&amp;&#34;<' in written
    metrics_tree.write(tmp_path, ["lab"], ["<b>", "a&b", '"', "{{ best }}", "$x_$", "_x"])
    run = results.read(tmp_path, ["lab"])
    html = render(run, page.draw_figures(run))
    Page(html)
    assert "{{ best }}" in html
