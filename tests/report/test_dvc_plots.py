"""`dvc plots` draws every table of the stages, two revisions beside each other, mixing no rows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import metrics_tree
import pytest
import yaml
from clone import Clone
from closure import ROOT
from report_page import run_compare

from powtwo.report import results

pytestmark = pytest.mark.slow

SCHEMES = ["lab", "minmax-ceil"]
TEMPLATES = ROOT / ".dvc/plots"
DVC_YAML = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
Spec = dict[str, Any]
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")

# Within one revision and one facet, what identifies a row of the data.
KEYS = {
    "plots/training.csv": "epoch",
    "plots/layers/lab.csv": "layer",
    "plots/histograms/lab.csv": "low",
    "plots/assumptions/lab.csv": "value",
    "plots/energy-sensitivity.csv": "value",
    "plots/schemes.csv": "scheme",
    "plots/sensitivity.csv": "layer",
}


def repository(folder: Path) -> Clone:
    """Return what `dvc plots` reads, but the tables: dvc.yaml, its settings and the templates."""
    clone = Clone(folder)
    for name in ("dvc.yaml", ".dvcignore", ".dvc/config"):
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone.root / name)
    shutil.copytree(TEMPLATES, clone.root / ".dvc/plots")
    return clone


def commit(clone: Clone) -> None:
    author = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    for command in (["init"], ["add", "--all"], [*author, "commit", "--message", "before"]):
        clone.run("git", *command).check_returncode()


def plots(clone: Clone, *arguments: str) -> dict[str, Spec]:
    """Return the Vega-Lite specifications that DVC would draw, by name."""
    printed = json.loads(clone.run("dvc", "plots", *arguments, "--json").stdout)
    assert "errors" not in printed
    drawn = [(name, plot) for name, plots in printed["data"].items() for plot in plots]
    return {name: plot["content"] for name, plot in drawn if plot["type"] == "vega"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spec]:
    """What `dvc plots diff HEAD` draws where every table changed since."""
    clone = repository(tmp_path_factory.mktemp("plots"))
    for recorded in (("lab", "minmax-ceil"), ("minmax-ceil", "shift")):
        metrics_tree.write(clone.root, dict(zip(SCHEMES, recorded, strict=True)))
        run_compare(clone.root)
        if recorded[0] == "lab":
            commit(clone)
    return plots(clone, "diff", "HEAD")


def entries() -> Iterator[tuple[str, Spec]]:
    """Yield the CSV files under the stages' `plots:`, each with its options."""
    for stage in DVC_YAML["stages"].values():
        for entry in stage.get("do", stage).get("plots", []):
            ((path, options),) = entry.items()
            if path.endswith(".csv"):
                yield path, options


def parts(value: object) -> Iterator[Spec]:
    """Yield every object of nested JSON but those of the data."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            yield from () if key == "values" else parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from parts(inner)


def calculated(spec: Spec) -> dict[str, list[str]]:
    """Return the fields that a specification calculates, and those of the data it does it from."""
    return {
        part["as"]: re.findall(r"datum\.(\w+)", part["calculate"])
        for part in parts(spec)
        if "calculate" in part
    }


def facets(spec: Spec) -> list[str]:
    """Return the fields of the data that identify a facet."""
    fields = [facet["field"] for facet in spec.get("facet", {}).values() if "field" in facet]
    sources = calculated(spec)
    return [name for field in fields for name in sources.get(field, [field])]


def test_every_template_is_there_and_used() -> None:
    named = {options["template"] for _, options in entries() if "template" in options}
    own = {path.stem for path in TEMPLATES.iterdir()}
    assert named - own <= {"linear", "confusion", "bar_horizontal"}
    assert own <= named


def test_every_table_is_drawn_from_both_revisions(drawn: dict[str, Spec]) -> None:
    tables = {path.replace("${key}", name) for path, _ in entries() for name in SCHEMES}
    assert tables == {name for name in drawn if name.startswith("plots/")}
    for name, spec in drawn.items():
        assert {row["rev"] for row in spec["data"]["values"]} == {"workspace", "HEAD"}, name
        if "/predictions/" in name:
            assert spec["facet"]["column"]["field"] == "rev"
            continue
        colors = [part for part in parts(spec) if part.get("field") == "rev" and "scale" in part]
        assert [color["scale"]["domain"] for color in colors] == [["workspace", "HEAD"]], name


def test_fields_and_anchors_are_those_of_the_tables(drawn: dict[str, Spec]) -> None:
    for name, spec in drawn.items():
        assert "<DVC_METRIC" not in json.dumps(spec), name
        if name not in KEYS and "/energy/" not in name and "/conventions/" not in name:
            continue  # templates of DVC's own, but the ones that KEYS has
        known = {*spec["data"]["values"][0], *calculated(spec)}
        used = {part["field"] for part in parts(spec) if isinstance(part.get("field"), str)}
        used |= set(spec["data"].get("format", {}).get("parse", {}))
        used |= {field for fields in calculated(spec).values() for field in fields}
        assert used <= known, name


def test_numbers_stand_where_numbers_are_drawn(drawn: dict[str, Spec]) -> None:
    for name, spec in drawn.items():
        rows = spec["data"]["values"]
        fields = {
            part[axis]["field"]
            for part in parts(spec)
            for axis in ("x", "y")
            if isinstance(part.get(axis), dict) and part[axis].get("type") == "quantitative"
        }
        assert fields or "/predictions/" in name
        for field in fields:
            texts = {row[field] for row in rows} - {""}
            assert texts, (name, field)
            assert all(NUMBER.fullmatch(text) for text in texts), (name, field)


@pytest.mark.parametrize("name", KEYS)
def test_no_two_rows_are_drawn_at_one_place(drawn: dict[str, Spec], name: str) -> None:
    spec = drawn[name]
    named = {part.get("field") for part in parts(spec)}
    assert KEYS[name] in named
    keys = ["rev", *facets(spec), KEYS[name]]
    places = [tuple(row[key] for key in keys) for row in spec["data"]["values"]]
    assert len(places) == len(set(places))


def test_energy_is_never_added_across_tables(drawn: dict[str, Spec]) -> None:
    assert set(facets(drawn["plots/energy/lab.csv"])) == {"part", "table", "arithmetic"}
    assert set(facets(drawn["plots/conventions/lab.csv"])) == {"zero_point", "table"}


def test_histograms_draw_bins_and_code_limits_of_each_layer(drawn: dict[str, Spec]) -> None:
    spec = drawn["plots/histograms/lab.csv"]
    assert facets(spec) == ["layer", "tensor"]
    # The last layer has no output: a list to sort by would put its weights under `output`.
    assert all(not isinstance(part.get("sort"), list) for part in spec["facet"].values())
    bars, *limits = spec["spec"]["layer"]
    places = {axis: bars["encoding"][axis]["field"] for axis in ("x", "x2", "y")}
    assert places == {"x": "low", "x2": "high", "y": "count"}
    assert bars["encoding"]["y"]["stack"] is None  # else revisions would be added
    assert [rule["encoding"]["x"]["field"] for rule in limits] == ["code_low", "code_high"]
    assert {row["tensor"] for row in spec["data"]["values"]} == {"weight", "output"}


def test_tables_without_rows_can_be_shown(tmp_path: Path) -> None:
    clone = repository(tmp_path)
    metrics_tree.write(clone.root, SCHEMES)
    metrics_tree.forget_sensitivity(clone.root, SCHEMES)
    run_compare(clone.root)
    text = (clone.root / "plots/sensitivity.csv").read_text(encoding="utf-8")
    assert text == ",".join(results.LayerSensitivity._fields) + "\n"
    commit(clone)
    assert "plots/layers/lab.csv" in plots(clone, "show")
