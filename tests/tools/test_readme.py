"""What README shows is what the files hold."""

from __future__ import annotations

import csv
import re
import shutil
import statistics
import sys
from pathlib import Path

import pytest
import yaml
from closure import ROOT

from powtwo.core import files
from powtwo.tools import publishing
from powtwo.tools.docs import markdown, readme

sys.path.insert(0, str(ROOT / "benchmarks"))

import seeds


def test_the_results_are_those_of_the_committed_metrics() -> None:
    page = readme.PAGE.read_text(encoding="utf-8")
    assert markdown.insert(page, "results", readme.results()) == page, "stale: run `inv docs`"


def test_the_headline_and_its_table_are_those_of_the_published_run() -> None:
    page = readme.PAGE.read_text(encoding="utf-8")
    for name, text in (("headline", readme.headline()), ("schemes", readme.published_schemes())):
        assert markdown.insert(page, name, text) == page, "stale: run `inv docs`"


PUBLISHED = sorted(path.parent.name for path in (ROOT / "results").glob("*/run.json"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_seeds_of_a_published_run_are_its_own(name: str) -> None:
    path = ROOT / "results" / name / publishing.SEEDS
    if not path.is_file():
        pytest.skip("nobody drew its calibration images again")
    own = yaml.safe_load((path.parent / "params.yaml").read_text(encoding="utf-8"))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        measured = files.read_json(path.parent / f"metrics/evaluate/{row['scheme']}.json")
        assert float(row[f"seed_{own['calibrate']['seed']}"]) == measured[row["metric"]]
        values = [float(value) for key, value in row.items() if key.startswith("seed_")]
        assert len(values) > 1
        assert row["mean"] == str(float(f"{statistics.fmean(values):.8g}"))  # as files.write_csv
        assert row["sd"] == str(float(f"{statistics.stdev(values):.8g}"))


def test_seeds_are_shown_as_mean_and_deviation(tmp_path: Path) -> None:
    path = tmp_path / publishing.SEEDS
    assert readme._seeds(path) == []
    found = {"shift": [{"accuracy": a, "validation_accuracy": 0.5, "drop_points": 2.0}
                       for a in (0.90, 0.92, 0.94)]}  # fmt: skip
    files.write_csv(path, *seeds.table(found, [0, 1, 2]))
    *_, sentence, _, head, _, line = readme._seeds(path)
    assert "from 3 draws" in sentence
    assert head == "| scheme | accuracy | on validation | drop, points |"
    assert line == "| `shift` | 92.00% ± 2.00% | 50.00% ± 0.00% | 2.00 ± 0.00 |"


def test_runs_of_other_seeds_are_shown_as_mean_and_deviation(tmp_path: Path) -> None:
    folders = [tmp_path / "results" / name for name in ("x", "x-seed1", "x-seed2")]
    for folder in folders:
        shutil.copytree(readme.ROOT / readme.HEADLINE, folder)
    assert "Trained from" not in readme.published_schemes(readme.ROOT / "results/cifar10-jpeg-lab")
    for folder, accuracy, drop in zip(folders, (0.90, 0.92, 0.94), (0.0, 1.0, 5.0), strict=True):
        for path in (folder / "metrics/evaluate").glob("*.json"):
            found = files.read_json(path)
            own = {"accuracy": accuracy, "drop_points": drop} if path.stem == "shift" else {}
            files.write_json(path, {**found, **own, "float_accuracy": accuracy - 0.1})
    in_order = folders[1] / "plots/schemes.csv"
    head, *lines = in_order.read_text(encoding="utf-8").splitlines()
    in_order.write_text("\n".join([head, *lines[::-1], ""]), encoding="utf-8")
    runs = [readme._read(folder) for folder in folders]
    _, sentence, _, head, _, network, *lines = readme._training_seeds(folders, runs)
    assert "from 3 seeds" in sentence
    assert head == "| scheme | accuracy | on validation | drop, points |"
    assert network.startswith("| float network | 82.00% ± 2.00% | ")
    assert network.endswith(" | – |")
    assert any(line.startswith("| `shift` | 92.00% ± 2.00% | ") for line in lines)
    shown = readme.published_schemes(folders[0])
    assert sentence in shown
    assert "it lost, mean of 3 trainings:" in shown
    assert "`shift` 1.00" in shown.splitlines()[-2]  # 2 points on average are 1 beyond its goal
    opening = readme.headline(folders[0])
    assert "of 82.00% ± 2.00%** (mean ± sample standard deviation of 3 trainings, " in opening
    assert "95 % interval" in readme.headline(readme.ROOT / "results/cifar10-jpeg-lab")


def test_every_file_that_a_page_links_to_is_there() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            name, _, heading = target.partition("#")
            if "://" not in target:
                path = page.parent / name if name else page
                assert path.exists(), f"{page.name}: {target}"
                assert not heading or heading in headings(path), f"{page.name}: {target}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_insert_replaces_what_stood_between_the_markers() -> None:
    page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"
    written = markdown.insert(page, "x", "new")
    assert written == "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n"
    assert markdown.insert(written, "x", "new") == written
    with pytest.raises(ValueError, match="page: has no <!-- y: begin -->"):
        markdown.insert(page, "y", "new")


def test_every_row_of_a_table_has_a_cell_for_each_title() -> None:
    lines = ["| a | b |", "| ---: | --- |", "| 1 | x |"]
    assert markdown.table(["a", "b"], [["1", "x"]], words=(1,)) == lines
    with pytest.raises(ValueError, match=r"rows: \['1'\] has 1 cells for 2 titles"):
        markdown.table(["a", "b"], [["1"]])


def test_update_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text("<!-- x: begin --><!-- x: end -->")
    markdown.update(page, "x", "new")
    assert "\n\nnew\n\n" in page.read_text()
