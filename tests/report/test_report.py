"""The comparison: what it shows is what was measured, and its bytes stay the same."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import metrics_tree
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from powtwo.core import files
from powtwo.report import common_prices as energy_common
from powtwo.report import energy_tables, figures, heatmaps, layer_tables, markup, results
from powtwo.report import histograms as histogram_figure
from powtwo.report import page as report
from powtwo.report.pareto import _front

ROOT = Path(__file__).resolve().parents[2]
SCHEMES = ["lab", "minmax-round", "minmax-round-half-up", "minmax-ceil"]
PICTURES = ["schemes", "energy", "sqnr", "sensitivity", "histograms", "confusion"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of metrics on which the stage has run."""
    root = tmp_path_factory.mktemp("tree")
    metrics_tree.write(root, SCHEMES)
    write_params(root, SCHEMES)
    done = run_stage(root)
    assert (done.returncode, done.stderr) == (0, "")
    (root / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return root


def write_params(root: Path, schemes: list[str]) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    one = next(iter(params["schemes"].values()))
    params["schemes"] = dict.fromkeys(schemes, one)
    params["export"]["schemes"] = []
    text = yaml.safe_dump(params, sort_keys=False)
    (root / "params.yaml").write_text(text, encoding="utf-8")


def run_stage(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(ROOT / "src" / "compare.py")]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, encoding="utf-8", check=False
    )


def measured(root: Path, scheme: str) -> dict[str, float]:
    """Read the comparison's figures straight from the files, by the names of design §3."""

    def of(part: str) -> dict[str, float]:
        text = (root / f"metrics/{part}/{scheme}.json").read_text(encoding="utf-8")
        return json.loads(text)

    evaluate = of("evaluate")
    names = ("accuracy", "accuracy_low", "accuracy_high", "validation_accuracy", "drop_points",
             "drop_points_low", "drop_points_high", "gained", "lost", "p_value", "agreement",
             "min_sqnr_db")  # fmt: skip
    return {name: evaluate[name] for name in names} | {
        "size_mb": of("convert")["size_mb"],
        "energy_uj": of("energy")["integer_uj"],
        "ratio": of("energy")["ratio"],
    }


def test_table_equals_the_metrics(tree: Path) -> None:
    with (tree / "plots/schemes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("scheme") for row in rows] == SCHEMES
    compared = json.loads((tree / "metrics/compare.json").read_text(encoding="utf-8"))
    for scheme, row in zip(SCHEMES, rows, strict=True):
        wanted = measured(tree, scheme)
        assert {name: float(value) for name, value in row.items()} == wanted
        assert compared["schemes"][scheme] == wanted


def test_of_equal_energy_the_most_accurate_on_validation_images_is_best(tree: Path) -> None:
    compared = json.loads((tree / "metrics/compare.json").read_text(encoding="utf-8"))
    on_test, held_out = (
        {scheme: measured(tree, scheme)[key] for scheme in SCHEMES}
        for key in ("accuracy", "validation_accuracy")
    )
    assert compared["best"] == max(SCHEMES, key=held_out.__getitem__)
    assert compared["best"] != max(SCHEMES, key=on_test.__getitem__)  # else it would show nothing


def scheme_of(name: str, accuracy: float, uj: float | None) -> results.SchemeResult:
    evaluate = {"validation_images": 100, "validation_accuracy": accuracy, "accuracy": 1 - accuracy}
    metrics = {"evaluate": evaluate, "energy": {"integer_uj": uj}, "convert": {}}
    return results.SchemeResult(name, metrics, {})


@pytest.mark.parametrize(
    ("found", "best"),
    [
        # A standard error of 90 of 100 images is 3: 87 are as good, 86 are not.
        ([("a", 0.90, 3), ("b", 0.87, 2), ("c", 0.86, 1)], "b"),
        ([("a", 0.80, 1), ("b", 0.90, 3), ("c", 0.90, 2)], "c"),
        ([("b", 0.88, 2), ("c", 0.89, 2), ("a", 0.90, 3)], "c"),  # of equal energy
        ([("d", 0.90, 2), ("c", 0.90, 2)], "d"),  # the order of params.yaml
        ([("a", 1.00, 2), ("b", 0.99, 1)], "a"),  # 100 of 100 leave no error
        ([("a", 0.90, None), ("b", 0.88, 2)], "b"),  # a known energy before an unknown
        ([("a", 0.89, None), ("b", 0.90, None)], "b"),
    ],
)
def test_the_cheapest_within_a_standard_error_is_best(
    found: list[tuple[str, float, float | None]], best: str
) -> None:
    assert results.Results({}, [], [scheme_of(*one) for one in found]).best.name == best


def test_stdout_has_a_line_for_each_scheme(tree: Path) -> None:
    head, *lines, best = (tree / "stdout.txt").read_text(encoding="utf-8").splitlines()
    compared = json.loads((tree / "metrics/compare.json").read_text(encoding="utf-8"))
    chosen = compared["best"]
    assert best == f"cheapest within a standard error of the best on validation: {chosen}"
    assert head.split()[:2] == ["scheme", "accuracy"]
    assert [line.split()[0] for line in lines] == SCHEMES
    for scheme, line in zip(SCHEMES, lines, strict=True):
        assert f"{measured(tree, scheme)['accuracy']:.2%}" in line
        assert f"{measured(tree, scheme)['energy_uj']:.3f}" in line
    assert len({len(line) for line in [head, *lines]}) == 1


def test_a_second_run_writes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, SCHEMES)
    write_params(tmp_path, SCHEMES)
    settings = tmp_path / "matplotlibrc"  # a user's taste changes nothing
    settings.write_text("font.size: 20\nsavefig.dpi: 30\nsvg.fonttype: path\n", encoding="utf-8")
    assert run_stage(tmp_path).returncode == 0
    names = ["metrics/compare.json", "plots/schemes.csv", "plots/sensitivity.csv",
             "report/index.html"]  # fmt: skip
    for name in [*names, *(f"plots/{picture}.png" for picture in PICTURES)]:
        assert (tmp_path / name).read_bytes() == (tree / name).read_bytes(), name


def test_training_curves_have_stable_bytes(tree: Path, tmp_path: Path) -> None:
    epochs = results.read(tree, SCHEMES).epochs
    for name in ("a.png", "b.png"):
        figures.training_curves(epochs, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    one, two = (figures.svg(figures.training(epochs), "training") for _ in range(2))
    assert one == two
    assert b"Date" not in (tmp_path / "a.png").read_bytes()


def test_training_curves_draw_what_they_are_given(tree: Path) -> None:
    epochs = results.read(tree, SCHEMES).epochs
    loss, accuracy = figures.training(epochs).axes
    for axes, key, unit in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        drawn = [list(line.get_ydata()) for line in axes.get_lines()]
        parts = ("train", "validation")
        assert drawn == [[unit * row[f"{part}_{key}"] for row in epochs] for part in parts]


def test_one_epoch_can_be_drawn(tmp_path: Path) -> None:
    row = dict.fromkeys(metrics_tree.EPOCH, 0.5) | {"epoch": 1}
    figures.training_curves([row], tmp_path / "a.png")


@pytest.mark.parametrize(
    "name",
    ["metrics/evaluate/old.json", "metrics/convert/old.json", "metrics/energy/old.json",
     "plots/layers/old.csv", "plots/predictions/old.csv", "plots/energy/old.csv",
     "plots/histograms/old.csv"],
)  # fmt: skip
def test_file_of_a_dropped_scheme_is_an_error(tmp_path: Path, name: str) -> None:
    metrics_tree.write(tmp_path, ["lab"])
    write_params(tmp_path, ["lab"])
    (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="params.yaml has no scheme old; .*`inv prune`") as caught:
        results.read(tmp_path, ["lab"])
    assert str(caught.value).startswith(f"{name}: ")


def test_stage_ends_with_one_line_on_a_stale_file(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab", "old"])
    write_params(tmp_path, ["lab"])
    done = run_stage(tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("compare: metrics/convert/old.json: params.yaml has no scheme")
    assert not (tmp_path / "report").exists()


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab"])
    (tmp_path / "metrics/convert/lab.json").unlink()
    with pytest.raises(ValueError, match=r"metrics/convert/lab.json: no such file; .*`inv repro`"):
        results.read(tmp_path, ["lab"])


VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Collects a page's elements and complains where they don't nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def html(tree: Path) -> str:
    return (tree / "report/index.html").read_text(encoding="utf-8")


def test_page_nests_and_ids_are_unique(html: str) -> None:
    page = Page(html)
    assert Counter(tag for tag, _ in page.elements)["h1"] == 1
    ids = Counter(a["id"] for _, a in page.elements if "id" in a)
    assert [name for name, count in ids.items() if count > 1] == []
    used = set(re.findall(r"url\(#([^)]+)\)", html))
    used |= {a["xlink:href"].removeprefix("#") for _, a in page.elements if "xlink:href" in a}
    assert used
    assert used <= set(ids)


def test_page_needs_no_network(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            value = attributes.get(name) or ""
            assert not re.match(r"(https?:)?//", value), (tag, value)
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\"'\s)<]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert [a["href"] for a in page.all("link")] == ["data:,"]


def test_links_lead_to_files(tree: Path, html: str) -> None:
    hrefs = {a["href"] for a in Page(html).all("a")}
    assert hrefs
    for href in hrefs:
        assert href is not None
        assert (tree / "report" / href).resolve().is_file(), href


def test_pictures_are_inline_and_described(html: str) -> None:
    page = Page(html)
    drawn = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(drawn) == len(PICTURES) + 1 == len(page.all("svg"))
    assert all(len(a["aria-label"] or "") > 40 for a in drawn)
    assert page.all("img") == []
    for svg in re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL):
        ElementTree.fromstring(svg)


def test_pictures_follow_light_and_dark(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    body = html[html.index("<body>") :]
    for color in (figures.INK, figures.FAINT, figures.BLUE, figures.ORANGE):
        assert color not in body
    declared = Counter(re.findall(r"(--\w+):", html))
    assert set(declared.values()) == {2}  # light and dark
    assert set(re.findall(r"var\((--\w+)\)", html)) <= set(declared)


def test_every_number_equals_its_source(tree: Path, html: str) -> None:
    checked = Counter()
    for tag, attributes in Page(html).elements:
        number = attributes.get("data-value" if tag in ("td", "th") else "value")
        if number is None:
            continue
        name, _, key = (attributes["title"] or "").partition(": ")
        assert float(number) in sources(tree, name, key), (name, key)
        checked[tag, name.rpartition("/")[0]] += 1
    schemes, layers = len(SCHEMES), 11
    numbers = [value for value in other_energy(tree) if value is not None]
    assert checked == {
        ("td", "metrics/evaluate"): schemes * 12,
        ("td", "metrics/convert"): schemes,
        # two columns of the comparison, four conventions, FP32, two totals, and what else there is
        ("td", "metrics/energy"): schemes * (2 + 5 + 2) + len(numbers),
        # the last layer's terms; what each layer reads and writes, in float and in integers
        ("td", "plots/energy"): schemes * (3 * (3 + 6) + layers * 6),
        ("th", "plots/energy"): schemes * layers,
        ("td", "plots/conventions"): schemes * layers * 4,
        ("th", "plots/conventions"): schemes * layers,
        # the last layer lacks its clipped outputs, output bits, output exponent and shift
        ("td", "plots/layers"): schemes * (layers * 11 - 4),
        ("th", "plots/layers"): schemes * layers,
        # under two tables of prices: four conventions, and two kinds of tensors in five places
        ("td", "plots"): schemes * 2 * (4 + 2 * 5),
        ("data", "metrics/evaluate"): 5 + 8 + 3 * schemes,
        ("data", "metrics/energy"): 3,
    }


def other_energy(tree: Path) -> list[float | None]:
    """List what metrics/energy holds beside the figures that have a place of their own."""
    found = [
        json.loads((tree / f"metrics/energy/{name}.json").read_text(encoding="utf-8"))
        for name in SCHEMES
    ]
    shown = ("conventions", "float_uj", "integer_uj", "last_float_pj", "last_integer_pj", "ratio",
             "sensitivity")  # fmt: skip
    return leaves([{key: run[key] for key in run if key not in shown} for run in found])


def leaves(values: object) -> list[float | None]:
    """List the numbers, and None where there could be one, of nested JSON."""
    if isinstance(values, dict | list):
        parts = values.values() if isinstance(values, dict) else values
        return [leaf for part in parts for leaf in leaves(part)]
    return [] if isinstance(values, str | bool) else [values]  # type: ignore[list-item]


def sources(tree: Path, name: str, key: str) -> set[float]:
    """Return the values that a file has under a key, by the way the page names it."""
    if name == energy_tables.SENSITIVITY_FILE:
        return assumed(tree / name, *key.split(", "))
    if name.startswith("plots/energy/"):
        return terms(tree / name, key)
    if name.startswith("plots/conventions/"):
        return {by_convention(tree / name, *key.removeprefix("layer ").split(", "))}
    if name.startswith("plots/layers"):
        index, column = key.removeprefix("layer ").split(", ")
        with (tree / name).open(encoding="utf-8", newline="") as file:
            return {float(row[column]) for row in csv.DictReader(file) if row["layer"] == index}
    value = json.loads((tree / name).read_text(encoding="utf-8"))
    for part in key.split("."):
        value = value[int(part) if isinstance(value, list) else part]
    return {float(value)}


def assumed(path: Path, scheme: str, where: str, prices: str, column: str) -> set[float]:
    wanted = [scheme, *where.split(" = "), prices]
    with path.open(encoding="utf-8", newline="") as file:
        return {
            float(row[column])
            for row in csv.DictReader(file)
            if [row[name] for name in ("scheme", "varied", "value", "table")] == wanted
        }


def by_convention(path: Path, layer: str, *wanted: str) -> float:
    """Add up a layer's kinds of operation under a convention and a table, or return its index."""
    if wanted == ("layer",):
        return float(layer)
    convention, prices, column = wanted
    assert column == "sum of pJ"
    with path.open(encoding="utf-8", newline="") as file:
        kinds = {
            row["kind"]: float(row["energy_pj"])
            for row in csv.DictReader(file)
            if (row["layer"], row["zero_point"], row["table"]) == (layer, convention, prices)
        }
    assert len(kinds) == 5
    return sum(kinds.values())


def terms(path: Path, key: str) -> set[float]:
    """Return one figure of all rows that a key names: a layer, what tells its terms, a column."""
    *wanted, column = key.removeprefix("layer ").split(", ")
    every = ("layer", "arithmetic", "kind", "operation", "table")
    names = [name for name in every if len(wanted) != 4 or name != "operation"][: len(wanted)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if [row[name] for name in names] == wanted]
    if column == "sum of pJ":
        assert len(rows) == (2 if wanted[2] == "weights_read" else 1)  # with the biases
        return {sum(float(row["energy_pj"]) for row in rows)}
    return {float(row[column]) for row in rows}


def test_titles_of_a_layers_columns_say_what_its_cells_hold(tree: Path) -> None:
    shown = layer_tables.layers(results.read(tree, SCHEMES).schemes[0], opened=True)
    titles = re.findall(r'<th scope="col"><button type="button">(.*?)</button></th>', shown)
    rows = [
        re.findall(r' title="plots/layers/lab.csv: layer \d+, (\w+)"', row)
        for row in re.findall(r'<tr><th scope="row".*?</tr>', shown)
    ]
    assert len(rows) == 11
    for row in rows:
        assert dict(zip(titles, row, strict=True)) == {
            "layer": "layer",
            "output SQNR, dB": "sqnr_db",
            "weight SQNR, dB": "weight_sqnr_db",
            "outputs clipped": "clipped_activations",
            "weights clipped": "clipped_weights",
            "quantized alone": "accuracy_quantized_alone",
            "float alone": "accuracy_float_alone",
            "output bits": "output_bits",
            "output exponent": "output_exponent",
            "weight bits": "weight_bits",
            "weight exponent": "weight_exponent_min",
            "shift": "shift_min",
        }


def test_a_layer_shows_the_range_of_its_channels_and_a_dash_for_what_it_lacks(
    tree: Path, html: str
) -> None:
    assert html.count(">7 to 9<") == html.count(">-10 to -8<") == len(SCHEMES)
    assert html.count(">–<") == 4 * len(SCHEMES) + other_energy(tree).count(None)


@pytest.mark.parametrize("without", [["a"], ["b"], ["a", "b"]])
def test_a_scheme_without_a_price_is_shown_without_one(tmp_path: Path, without: list[str]) -> None:
    metrics_tree.write(tmp_path, ["a", "b"], unpriced=without)
    found = results.read(tmp_path, ["a", "b"])
    html = report.page(found, report.pictures(found))
    Page(html)
    assert html.count("no price for &lt;int4x8_multiply&gt;") == len(without)
    assert f"lacks a price for them: {', '.join(without)}." in html
    assert ("has no price for." in html) == (found.best.name in without)
    assert results.table(found).count(results.MISSING) == 2 * len(without)
    assert [point.get_text() for point in report.pictures(found)[0].drawing.axes[0].texts] == (
        ["no scheme has a price"] if len(without) == 2
        else ["float, 244 µJ", *({"a", "b"} - set(without))]
    )  # fmt: skip


def test_what_else_energy_measured_is_shown_under_its_key(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab"])
    path = tmp_path / "metrics/energy/lab.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found |= {"memory": {"weights_uj": 1.25, "where": "sram"}}
    path.write_text(json.dumps(found), encoding="utf-8")
    read = results.read(tmp_path, ["lab"])
    html = report.page(read, report.pictures(read))
    for key, text in (("memory.weights_uj", "1.25"), ("memory.where", "sram")):
        assert re.search(rf'title="metrics/energy/lab.json: {key}">{text}<', html)


def test_ratios_of_one_row_assume_the_same(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, SCHEMES[:2])
    moved = dict.fromkeys(energy_common.SENSITIVITY, 1.0)

    def row(table: str, varied: str, value: str, ratio: float) -> dict[str, object]:
        of = f"of {varied}"
        own = {"table": table, "varied": varied, "value": value, "ratio_of": of, "ratio": ratio}
        return moved | own

    priced_by = {SCHEMES[0]: {"lab": 2.0, "qtools": 3.0}, SCHEMES[1]: {"qtools": 4.0}}
    for name, tables in priced_by.items():
        path = tmp_path / f"metrics/energy/{name}.json"
        found = files.read_json(path)
        found["sensitivity"] = [
            row(table, varied, value, ratio * factor)
            for table, ratio in tables.items()
            for varied, value, factor in (("zero_point", "folded", 1), ("weights_in", "dram", 10))
        ]
        path.write_text(json.dumps(found), encoding="utf-8")
    html = energy_tables.sensitivity(results.read(tmp_path, list(priced_by)))
    shown = [re.findall(r">([^<>]+)</t[dh]>", line) for line in html.split("<tr>")[2:]]
    assert shown == [
        ["zero_point = folded", "lab", "of zero_point", "2.00", results.MISSING],
        ["weights_in = dram", "lab", "of weights_in", "20.00", results.MISSING],
        ["zero_point = folded", "qtools", "of zero_point", "3.00", "4.00"],
        ["weights_in = dram", "qtools", "of weights_in", "30.00", "40.00"],
    ]


def test_intervals_stand_in_the_picture(tree: Path) -> None:
    found = results.read(tree, SCHEMES)
    axes = report.pictures(found)[0].drawing.axes[0]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    for scheme in SCHEMES:
        wanted = measured(tree, scheme)
        uj, low, high = (wanted[key] for key in ("energy_uj", "accuracy_low", "accuracy_high"))
        assert ([uj, uj], [100 * low, 100 * high]) in drawn
        assert axes.get_ylim()[0] < 100 * low < 100 * high < axes.get_ylim()[1]


def test_histograms_draw_the_counts_and_the_limits(tree: Path) -> None:
    best = results.read(tree, SCHEMES).best
    drawn = histogram_figure.histograms(best).axes
    assert len(drawn) == 2 * 11
    rows = best.tables["histograms"]
    for axes, tensor in zip(drawn[4:6], ("weight", "output"), strict=True):
        found = [row for row in rows if (row["layer"], row["tensor"]) == (3, tensor)]
        (stairs,) = axes.patches
        assert stairs.get_data().values.tolist() == [row["count"] for row in found]
        assert stairs.get_data().edges.tolist()[:-1] == [row["low"] for row in found]
        limits = [line.get_xdata()[0] for line in axes.get_lines()]
        assert limits == [-127 if tensor == "weight" else -128, 127]
    assert [text.get_text() for text in drawn[-1].texts] == ["int32: no codes"]


def alone(root: Path, scheme: str) -> list[tuple[str, str, str, float]]:
    """Read straight from the files what a layer costs alone: layer, kind, how, points."""
    of_all = json.loads((root / f"metrics/evaluate/{scheme}.json").read_text(encoding="utf-8"))
    with (root / f"plots/layers/{scheme}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ways = {"quantized": "sensitivity_float_accuracy", "float": "sensitivity_accuracy"}
    return [
        (row["layer"], row["kind"], how, 100 * (float(row[f"accuracy_{column}"]) - of_all[key]))
        for row in rows
        for (how, key), column in zip(ways.items(), ("quantized_alone", "float_alone"), strict=True)
    ]


def test_sensitivities_are_compared_with_the_network_of_the_other_layers(tree: Path) -> None:
    with (tree / "plots/sensitivity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["scheme"] for row in rows] == [name for name in SCHEMES for _ in range(2 * 11)]
    assert {row["images"] for row in rows} == {"100"}
    assert {row["reference"] for row in rows if row["alone"] == "quantized"} == {"0.98"}
    assert {row["reference"] for row in rows if row["alone"] == "float"} == {"0.97"}
    for scheme in SCHEMES:
        found = [row for row in rows if row["scheme"] == scheme]
        for row, (*names, points) in zip(found, alone(tree, scheme), strict=True):
            assert [row[key] for key in ("layer", "kind", "alone")] == names
            assert float(row["points"]) == pytest.approx(points)
            difference = float(row["accuracy"]) - float(row["reference"])
            assert float(row["points"]) == pytest.approx(100 * difference)


def test_sensitivity_draws_losses_above_and_gains_below(tree: Path) -> None:
    lost, won = heatmaps.sensitivity(results.read(tree, SCHEMES)).axes
    for axes, how, sign in ((lost, "quantized", -1), (won, "float", 1)):
        points = [[sign * row[3] for row in alone(tree, name) if row[2] == how] for name in SCHEMES]
        (mesh,) = axes.collections
        assert mesh.get_array().tolist() == [pytest.approx(row) for row in points]
        texts = [float(text.get_text().replace("−", "-")) for text in axes.texts]
        assert texts == pytest.approx([round(value, 1) for row in points for value in row])
        assert [label.get_text() for label in axes.get_yticklabels()] == SCHEMES
        assert axes.get_xticklabels()[2].get_text() == "3\nconv2d"
    assert lost.collections[0].get_clim() == won.collections[0].get_clim()


def test_one_image_more_or_less_is_pale_and_zero_has_no_sign(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab"])
    path = tmp_path / "plots/layers/lab.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    ends = ["0.98,0.97", "0.99,0.96", *["0.97,0.98"] * 9]  # of the float network's 0.98, and 0.97
    lines = [",".join([*row.split(",")[:-2], end]) for row, end in zip(rows, ends, strict=True)]
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    found = results.read(tmp_path, ["lab"])
    for axes in heatmaps.sensitivity(found).axes:
        assert [text.get_text() for text in axes.texts] == ["0.0", "−1.0", *["1.0"] * 9]
        assert axes.collections[0].get_clim() == pytest.approx((0, 5))
    html = report.page(found, report.pictures(found))
    assert "Under lab layer 3 conv2d costs most, 1.0 points, and layer 3 conv2d gives most" in html


def test_the_picture_names_the_layers_that_matter_most(tree: Path, html: str) -> None:
    name = results.read(tree, SCHEMES).best.name
    (text,) = (a["aria-label"] or "" for a in Page(html).all("svg")
               if (a.get("aria-label") or "").startswith("Accuracy on 100"))  # fmt: skip
    worst = max((-p, f"layer {i} {kind}") for i, kind, how, p in alone(tree, name) if how[0] == "q")
    assert worst[0] > 0
    assert re.search(rf"Under {name} layer \d+ \w+ costs most, {worst[0]:.1f} points, and", text)
    tied = [f"layer {i} {kind}" for i, kind, how, p in alone(tree, name)
            if how == "quantized" and -p == pytest.approx(worst[0])]  # fmt: skip
    assert f"{tied[0]} costs most" in text


@pytest.mark.parametrize("without", [["lab"], ["shift"], ["lab", "shift"]])
def test_a_scheme_whose_sensitivity_was_not_measured_is_left_out(
    tmp_path: Path, without: list[str]
) -> None:
    metrics_tree.write(tmp_path, ["lab", "shift"])
    metrics_tree.forget_sensitivity(tmp_path, without)
    found = results.read(tmp_path, ["lab", "shift"])
    kept = [name for name in ("lab", "shift") if name not in without]
    assert list(dict.fromkeys(row[0] for row in results.layer_sensitivity(found))) == kept
    lost, won = heatmaps.sensitivity(found).axes
    assert [label.get_text() for label in won.get_yticklabels()] == kept or not kept
    said = [text.get_text() for text in lost.texts if "not measured" in text.get_text()]
    assert said == ([] if kept else ["not measured: evaluate.sensitivity_images is 0"])
    html = report.page(found, report.pictures(found))
    Page(html)
    told = f"How {found.best.name} depends on each layer was not measured"
    assert (told in html) == (found.best.name in without)


def test_working_shows_the_labs_answer(html: str) -> None:
    for text in ("10 × 128 = 1,280", ">5,888<", ">422.8<", ">38.4<"):
        assert text in html


def test_names_are_escaped(tmp_path: Path) -> None:
    classes = ["<b>", "a&b", '"', "$claim", "$x_$", "_x"]
    metrics_tree.write(tmp_path, ["lab"], classes)
    found = results.read(tmp_path, ["lab"])
    Page(report.page(found, report.pictures(found)))


def test_cells_are_escaped() -> None:
    cell = markup.Cell('<b>&"', source='<i>"').html()
    assert cell == '<td title="&lt;i&gt;&quot;">&lt;b&gt;&amp;&quot;</td>'


def test_many_schemes_and_classes_can_be_drawn(tmp_path: Path) -> None:
    names = [f"scheme-{index}" for index in range(20)]
    metrics_tree.write(tmp_path, names, [f"class {index}" for index in range(25)])
    found = results.read(tmp_path, names)
    drawn = {picture.name: picture.drawing for picture in report.pictures(found)}
    assert list(drawn) == PICTURES
    texts = [text for text in drawn["schemes"].axes[0].texts if text.get_text() in names]
    assert len(texts) == 20
    drawn["schemes"].draw_without_rendering()
    # Of the text alone; an annotation counts its line too.
    boxes = sorted((Text.get_window_extent(text) for text in texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


positions = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(positions, st.floats(0.001, 0.5))
def test_spread_keeps_distance_and_order(wanted: list[float], gap: float) -> None:
    placed = figures.spread(wanted, gap)
    least = min(gap, 1 / max(1, len(wanted) - 1))
    ordered = sorted(zip(wanted, placed, strict=True))
    assert all(-1e-9 <= y <= 1 + 1e-9 for y in placed)
    heights = sorted(placed)
    assert all(b - a >= least - 1e-9 for a, b in pairwise(heights))
    apart = [(a, b) for a, b in pairwise(ordered) if a[0] < b[0]]
    assert all(a[1] < b[1] for a, b in apart)


def test_spread_leaves_alone_what_is_apart() -> None:
    assert figures.spread([0.5, 0.1, 0.9], 0.1) == pytest.approx([0.5, 0.1, 0.9])
    assert figures.spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert figures.spread([1.0, 1.0], 0.2) == pytest.approx([0.8, 1.0])


def test_front_by_hand() -> None:
    points = [(2.0, 90.0), (1.0, 80.0), (3.0, 85.0), (2.0, 89.0), (4.0, 90.0), (1.0, 80.0)]
    assert _front(points) == [(1.0, 80.0), (2.0, 90.0)]


def test_figures_need_no_torch() -> None:
    code = "import sys, powtwo.report; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)


def test_numbers_stand_out_on_every_color_of_a_heatmap() -> None:
    def luminance(color: object) -> float:
        channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                    for c in matplotlib.colors.to_rgb(color)]  # fmt: skip
        return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]

    for step in range(257):
        ground, ink = heatmaps._COLORS(step / 256), heatmaps._ink(step, 256)
        dark, light = sorted(luminance(color) for color in (ground, ink))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, step
        assert matplotlib.colors.to_hex(ground) not in markup._VARIABLES  # changed in the dark
