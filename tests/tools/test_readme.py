"""What README shows of runs, made from the files of small ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from closure import ROOT
from metrics_tree import read_csv
from published_run import LOG, publish_as, write_run

from powtwo.core import files
from powtwo.tools.docs import markdown, readme

# The table of published runs


def last_line(root: Path) -> str:
    return readme.published_runs(root).splitlines()[-1]


def test_a_recipe_has_a_line_with_mean_and_deviation_over_its_seeds(tmp_path: Path) -> None:
    publish_as(tmp_path, "x")
    assert last_line(tmp_path) == (
        "| `x` | 1 | `mnist5k`: 3,600, 400, 1,000 | 12 | 98.20% | `lab` | 90.00% | 0.20 | 0.500 "
        "| 17.523 | 13.9 | `lab` | 40 | 2 threads, EPYC, float32, PyTorch 2.13.0 |"
    )
    publish_as(tmp_path, "x-seed2", seed=2, drop_points=0.4, p_value=0.01)
    # Two values d apart: the mean is halfway, the sample deviation d / sqrt(2).
    assert last_line(tmp_path).startswith("| `x` | 2 | ")
    assert "| `lab` | 90.00% | 0.30 ± 0.14 | 0.500, 0.010 |" in last_line(tmp_path)
    assert "| 41 ± 1 |" in last_line(tmp_path)


def test_means_over_seeds_choose_one_scheme_for_all(tmp_path: Path) -> None:
    for seed, best in enumerate(("lab", "minmax-ceil", "minmax-ceil")):
        publish_as(tmp_path, f"x-seed{seed}" if seed else "x", seed=seed, best=best)
    # On validation 0.933 on average, where `lab` has 0.917; on test images 1.0, 0.9 and 0.9.
    assert "| `minmax-ceil` | 93.33% ± 5.77% |" in last_line(tmp_path)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ({"earlier_seconds": 60.0}, "100 | 2 threads, EPYC, float32, PyTorch 2.13.0"),
        ({"processes": 4}, "40 | 4 × 2 threads, EPYC, float32, PyTorch 2.13.0"),
        ({"device": "cuda", "device_name": "H100"}, "40 | H100, float32, PyTorch 2.13.0"),
        (None, "unknown | unknown"),
    ],
)
def test_the_table_says_what_trained_and_all_its_time(
    tmp_path: Path, log: dict[str, Any] | None, said: str
) -> None:
    info = publish_as(tmp_path, "x") / "run.json"
    stages = {"train": LOG | log if log else None}
    files.write_json(info, files.read_json(info) | {"stages": stages})
    assert last_line(tmp_path).endswith(f"| {said} |")


# The tables of schemes


def test_the_run_in_the_work_tree_has_a_line_for_each_scheme(tmp_path: Path) -> None:
    sentence, _, _, _, lab, ceil = readme.work_tree(write_run(tmp_path)).splitlines()
    assert sentence.startswith("The committed run: `mnist5k`, 3,600 training, 400 validation and")
    assert sentence.endswith("(one-standard-error rule): `lab`.")
    assert lab.startswith("| `lab` | 90.00% | 95.00% | 0.20 | 0.500 | ")
    assert ceil.startswith("| `minmax-ceil` | 100.00% | 90.00% | ")


def test_trainings_from_several_seeds_have_mean_and_deviation(tmp_path: Path) -> None:
    for seed, (accuracy, drop) in enumerate([(0.90, 0.0), (0.92, 1.0), (0.94, 5.0)]):
        name = f"x-seed{seed}" if seed else "x"
        folder = publish_as(
            tmp_path, name, seed=seed, accuracy=accuracy, drop_points=drop, p_value=drop,
            float_accuracy=accuracy - 0.1, min_sqnr_db=None if seed else 9.0,
        )  # fmt: skip
        if seed == 1:  # whose schemes stand in another order
            head, *lines = (folder / "plots/schemes.csv").read_text(encoding="utf-8").split()
            files.write_text(folder / "plots/schemes.csv", "\n".join([head, *lines[::-1], ""]))
    sentence, _, _, _, lab, _ = readme.published_schemes(tmp_path / "results/x").splitlines()
    assert "82.00% ± 2.00% test accuracy" in sentence
    assert "of 3 trainings" in sentence
    accuracy = "92.00% ± 2.00% | 95.00% | 2.00 ± 2.65"
    assert (
        lab == f"| `lab` | {accuracy} | < 0.001, 1.000, 5.000 | 0.00% | – | 0.00 | 17.523 | 13.9 "
        "| 17.0 | 12.0 | 8.6 |"
    )
    table = readme.best(tmp_path / "results/x").splitlines()
    assert table[2:6] == [
        "| scheme | accuracy, % | drop | µJ | ratio | gated / dense | gated / gated | with SRAM |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| FP32 | 82.00\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}2.00 | – | 244.193 | 1 | – | – | – |",
        "| **`lab`** | 92.00\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}2.00 "
        "| 2.00\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}2.65 | 17.523 | 13.9 | 17.0 | 12.0 | 8.6 |",
    ]
    axes = readme.headline_figure(tmp_path / "results/x").axes[0]
    assert axes.get_title(loc="left") == "Accuracy (%), mean ± SD of 3 trainings"
    bars = [list(line.get_ydata()) for line in axes.get_lines() if len(line.get_ydata()) == 2]
    assert sorted(bars) == [pytest.approx(bar) for bar in ([80, 84], [90, 94], [98, 100])]
    opening = readme.headline(tmp_path / "results/x")
    assert opening.startswith("**Integer-only inference has 92.00% ± 2.00% top-1 accuracy, FP32")
    assert "FP32 82.00% ± 2.00%, for 13.9 times less energy of arithmetic" in opening
    assert "and 9.3 times less with memory**; 17.0 times less than FP32 where products" in opening
    assert "are skipped, and 12.0 times where FP32 skips them too (mean" in opening
    assert "1,000 test images; 2.00 ± 2.65 points are lost): the scheme `lab` of [x]" in opening
    assert "with weights in `dram` and activations in `sram`. Ratios of operations are" in opening
    assert opening.endswith(
        "([Saha et al. 2024, arXiv 2409.20403](https://arxiv.org/abs/2409.20403))."
    )


def test_a_run_that_measured_less_is_shown_without_those_columns(tmp_path: Path) -> None:
    folder = publish_as(tmp_path, "x")
    later = ("ratio_gated_dense", "ratio_gated_gated", "ratio_with_sram")
    rows = [{key: value for key, value in row.items() if key not in later}
            for row in read_csv(folder / "plots/schemes.csv")]  # fmt: skip
    files.write_csv(folder / "plots/schemes.csv", list(rows[0]), [row.values() for row in rows])
    assert "| scheme | accuracy, % | drop | µJ | ratio |\n" in readme.best(folder)
    assert "gated" not in readme.best(folder) + readme.published_schemes(folder)
    assert "skip" not in readme.headline(folder)


def test_the_picture_has_the_rows_of_the_table(tmp_path: Path) -> None:
    folder = publish_as(tmp_path, "x", accuracy=1.0, energy_uj=10.0)  # no other is as good
    names = [line.split("|")[1].strip(" *`") for line in readme.best(folder).splitlines()[4:]]
    texts = [text.get_text() for text in readme.headline_figure(folder).axes[0].texts]
    assert sorted(filter(None, texts)) == sorted(names) == ["FP32", "lab"]


def test_a_run_of_other_schemes_has_no_edit_to_show(tmp_path: Path) -> None:
    files.write_json(tmp_path / "metrics/accuracy.json", {"FP32": 0.9, "mine": 0.8})
    assert readme.edit(tmp_path).startswith("The run in the work tree lacks the schemes `w3` and")


# Pages


def test_every_file_that_a_page_links_to_is_there() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            name, _, heading = target.partition("#")
            if "://" not in target and not name.startswith("results/"):  # those `inv check` judges
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


@pytest.mark.parametrize(
    ("values", "form", "text"),
    [
        ([0.9, 0.92], ".2%", "91.00% ± 1.41%"),
        ([1.0, 2.0, 3.0], "+.1f", "+2.0 ± 1.0"),
        ([-1.0], "+.1f", "-1.0"),
        ([0.52, 0.54], ".1f", "0.5"),
    ],
)
def test_several_values_have_mean_and_sample_deviation(
    values: list[float], form: str, text: str
) -> None:
    assert markdown.mean_deviation(values, form) == text
