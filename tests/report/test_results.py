"""The comparison: what it says is what was measured, and its bytes stay the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import metrics_tree
import pytest
from closure import ROOT
from metrics_tree import RECORDED, read_csv
from report_page import FIGURES, run_compare

from powtwo.core import files
from powtwo.report import results


def measured(root: Path, scheme: str) -> dict[str, float]:
    """Read the comparison's figures straight from the files."""
    convert, evaluate, energy = (
        files.read_json(root / f"metrics/{part}/{scheme}.json")
        for part in ("convert", "evaluate", "energy")
    )
    test, validation, _ = read_csv(root / f"plots/accuracy/{scheme}.csv")
    names = ("accuracy", "drop_points", "gained", "lost", "p_value", "agreement", "min_sqnr_db")
    intervals = ("accuracy_low", "accuracy_high", "drop_points_low", "drop_points_high")
    return {name: evaluate[name] for name in names} | {
        **{name: float(test[name]) for name in intervals},
        "validation_accuracy": float(validation["accuracy"]),
        "size_mb": convert["size_mb"],
        "energy_uj": energy["integer_uj"],
        **{name: energy[name] for name in energy if name.startswith("ratio")},
    }


def test_tables_equal_the_metrics(tree: Path) -> None:
    rows = read_csv(tree / "plots/schemes.csv")
    assert [row.pop("scheme") for row in rows] == list(RECORDED)
    for scheme, row in zip(RECORDED, rows, strict=True):
        assert {name: float(value) for name, value in row.items()} == measured(tree, scheme)


def test_what_is_compared_is_in_two_files_of_metrics(tree: Path) -> None:
    expected = {scheme: measured(tree, scheme) for scheme in RECORDED}
    accuracy = files.read_json(tree / "metrics/accuracy.json")
    fp32 = files.read_json(tree / "metrics/evaluate/lab.json")["float_accuracy"]
    assert accuracy == {"FP32": fp32} | {name: row["accuracy"] for name, row in expected.items()}
    compared = files.read_json(tree / "metrics/compare.json")
    assert (compared.pop("best"), compared.pop("energy_table")) == ("shift", "lab")
    for key, of_schemes in compared.items():
        column = {"energy_ratio": "ratio"}.get(key, key)
        assert of_schemes == {name: row[column] for name, row in expected.items()}
    assert {"drop_points", "energy_ratio", "size_mb", "min_sqnr_db"} <= set(compared)
    assert len(compared) + 1 <= 12


def test_assumptions_of_all_schemes_are_one_table(tree: Path) -> None:
    rows = [row for name in RECORDED for row in read_csv(tree / f"plots/assumptions/{name}.csv")]
    assert read_csv(tree / "plots/energy-sensitivity.csv") == rows
    assert [row["scheme"] for row in rows] == [name for name in RECORDED for _ in range(2 * 16 + 1)]


def test_stdout_has_a_line_for_each_scheme(tree: Path) -> None:
    head, *lines, best = (tree / "stdout.txt").read_text(encoding="utf-8").splitlines()
    assert best.endswith(f": {files.read_json(tree / 'metrics/compare.json')['best']}")
    for scheme, line in zip(RECORDED, lines, strict=True):
        assert line.split()[:2] == [scheme, f"{measured(tree, scheme)['accuracy']:.2%}"]
    assert len({len(line) for line in [head, *lines]}) == 1


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        # A standard error of 90 of 100 images is 3: 87 are as good, 86 are not.
        ([("a", 0.90, 3), ("b", 0.87, 2), ("c", 0.86, 1)], "b"),
        ([("a", 0.80, 1), ("b", 0.90, 3), ("c", 0.90, 2)], "c"),
        ([("b", 0.88, 2), ("c", 0.89, 2), ("a", 0.90, 3)], "c"),  # of equal energy
        ([("d", 0.90, 2), ("c", 0.90, 2)], "d"),  # the order of params.yaml
        ([("a", 1.00, 2), ("b", 0.99, 1)], "a"),  # 100 of 100 leave no error
    ],
)
def test_the_cheapest_within_a_standard_error_is_best(
    rows: list[tuple[str, float, float]], best: str
) -> None:
    by_name = {name: {"validation_accuracy": p, "energy_uj": uj} for name, p, uj in rows}
    assert results.choose(by_name, 100) == best


def test_validation_and_not_test_accuracy_chooses(tmp_path: Path) -> None:
    schemes = {"b": "lab", "a": "lab"}  # of equal energy, and not the first
    metrics_tree.write(tmp_path, schemes)
    for name, test, validation in (("a", 0.9, 0.99), ("b", 1.0, 0.98)):
        metrics_tree.change_json(tmp_path / f"metrics/evaluate/{name}.json", accuracy=test)
        path = tmp_path / f"plots/accuracy/{name}.csv"
        metrics_tree.change_row(path, "part", "validation", accuracy=validation)
    assert results.read(tmp_path, list(schemes)).best.name == "a"


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    metrics_tree.write(tmp_path)
    settings = tmp_path / "matplotlibrc"  # a user's taste changes nothing
    settings.write_text("font.size: 20\nsavefig.dpi: 30\nsvg.fonttype: path\n", encoding="utf-8")
    command = [sys.executable, "-W", "error", str(ROOT / "src/compare.py")]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": "1"}, check=False,
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    written = [f"plots/{name}.png" for name in FIGURES]
    written += ["metrics/accuracy.json", "metrics/compare.json", "plots/schemes.csv",
                "plots/sensitivity.csv", "plots/energy-sensitivity.csv",
                "report/index.html"]  # fmt: skip
    for name in written:
        content = (tmp_path / name).read_bytes()
        assert content == (tree / name).read_bytes(), name
        assert b"Date" not in content or not name.endswith("png")


def test_files_of_removed_schemes_are_left_out_with_a_line(tree: Path, tmp_path: Path) -> None:
    metrics_tree.write(tmp_path)
    names = [f"metrics/{part}/old.json" for part in results.METRICS]
    names += [f"plots/{part}/old.csv" for part in results.PLOTS]
    for name in names:
        (tmp_path / name).write_text("{", encoding="utf-8")
    assert results.leftovers(tmp_path, list(RECORDED)) == [tmp_path / name for name in names]
    told = run_compare(tmp_path)
    for name in ("metrics/compare.json", "plots/schemes.csv", "report/index.html"):
        assert (tmp_path / name).read_bytes() == (tree / name).read_bytes()
    line = "left out, as params.yaml has no such scheme: old; `inv prune` removes them\n"
    assert told == line + (tree / "stdout.txt").read_text(encoding="utf-8")


def test_a_file_of_the_system_is_no_scheme_s(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab"])
    for name in ("._lab.json", ".DS_Store", "Thumbs.db", "Icon\r", "desktop.ini"):
        (tmp_path / "metrics/convert" / name).write_text("x", encoding="utf-8")
    assert results.leftovers(tmp_path, ["lab"]) == []


def test_missing_file_ends_the_stage_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics_tree.write(tmp_path)
    (tmp_path / "metrics/convert/lab.json").unlink()
    with pytest.raises(SystemExit) as ended:
        run_compare(tmp_path)
    assert ended.value.code == 1
    message = "compare: metrics/convert/lab.json: no such file; make it with `inv repro`\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "report").exists()


def test_sensitivities_are_compared_with_the_network_of_the_other_layers(tree: Path) -> None:
    expected = []
    for scheme in RECORDED:
        *_, few = read_csv(tree / f"plots/accuracy/{scheme}.csv")
        references = {"quantized": float(few["float_accuracy"]), "float": float(few["accuracy"])}
        for layer in read_csv(tree / f"plots/layers/{scheme}.csv"):
            for alone, reference in references.items():
                accuracy = float(layer[f"accuracy_{alone}_alone"])
                expected.append(
                    {"scheme": scheme, "layer": layer["layer"], "kind": layer["kind"],
                     "alone": alone, "images": "100", "accuracy": accuracy,
                     "reference": reference, "points": pytest.approx(100 * (accuracy - reference))}
                )  # fmt: skip
    rows = read_csv(tree / "plots/sensitivity.csv")
    numbers = ("accuracy", "reference", "points")
    assert [row | {name: float(row[name]) for name in numbers} for row in rows] == expected


def test_without_a_memory_table_nothing_is_said_of_sram(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path)
    for scheme in RECORDED:
        path = tmp_path / f"plots/totals/{scheme}.csv"
        metrics_tree.change_csv(path, ratio_with_sram=[""] * len(read_csv(path)))
    printed = run_compare(tmp_path)
    assert {row["ratio_with_sram"] for row in read_csv(tmp_path / "plots/schemes.csv")} == {""}
    assert printed.splitlines()[1].endswith("–")
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    comparator = page[page.index('id="comparator"') :].partition("</p>")[0]
    assert "SRAM" not in comparator
    assert "where FP32 skips" in " ".join(comparator.split())


def test_additions_and_averages_have_names_of_their_own() -> None:
    """They are in plots/energy alone: what has no weights has no row in plots/layers."""
    kinds = {0: "conv2d", 2: "conv2d", 3: "add", 5: "avgpool2d", 7: "add", 9: "linear"}
    weighted = [
        {"layer": i, "kind": kind} for i, kind in kinds.items() if kind in ("conv2d", "linear")
    ]
    priced = [{"layer": i, "layer_kind": kind} for i, kind in kinds.items()]
    scheme = results.SchemeResult("s", {}, {"layers": weighted, "energy": priced})
    assert scheme.layer_names == {
        0: "conv 1", 2: "conv 2", 3: "add 1", 5: "average 1", 7: "add 2", 9: "linear 1",
    }  # fmt: skip
