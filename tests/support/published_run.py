"""What a small run of the pipeline leaves: enough of its files to publish it and to show it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from closure import ROOT
from export_cases import small_network

from powtwo.core import files
from powtwo.report.columns import SCHEME_COLUMNS

SCHEMES = ("lab", "minmax-ceil")
LOG = {
    "seconds": 40.0, "earlier_seconds": 0.0, "machine": "x86_64", "processor": "EPYC",
    "device": "cpu", "device_name": "AVX2", "processes": 1, "threads": 2, "precision": "float32",
    "torch": "2.13.0",
}  # fmt: skip
ASSUMED = ("scheme", "table", "varied", "value", "weights_in", "activations_in", "sum_ratio",
           "arithmetic_float_uj")  # fmt: skip
VARIED = (("zero_point", "per_use", "dram", 9.1), ("weights_in", "sram", "sram", 3.0),
          ("weights_in", "dram", "dram", 9.3), ("activations_in", "dram", "dram", 4.0))  # fmt: skip


def write_run(root: Path, seed: int = 0, best: str = "lab", **figures: Any) -> Path:
    """Write the run of a seed; `figures` are of the scheme `best`, which validation selects.

    The other scheme is better on test images, which select nothing.
    """
    values = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))
    values["seed"], values["export"]["schemes"] = seed, []
    values["schemes"] = {name: values["schemes"][name] for name in SCHEMES}
    files.write_text(
        root / "params.yaml", yaml.safe_dump(values, sort_keys=False, default_flow_style=None)
    )
    files.write_text(root / "dvc.lock", "schema: '2.0'\nstages: {}\n")
    files.write_json(root / "logs/train.json", LOG | {"seconds": 40.0 + seed})
    files.write_json(root / "metrics/download.json", {
        "name": "mnist5k", "train_images": 3600, "validation_images": 400, "test_images": 1000,
        "sha256": "ab",
    })  # fmt: skip
    files.write_json(
        root / "metrics/train.json",
        {"epochs_run": 12, "validation_accuracy": 0.96, "parameters": 1470762},
    )
    files.write_json(root / "metrics/compare.json", {"energy_table": "lab"})
    accuracies = dict.fromkeys(("w3", "w3-mse"), 0.9)  # that README shows the edit of
    files.write_json(root / "metrics/accuracy.json", accuracies)
    files.write_csv(root / "plots/training.csv", ("epoch", "validation_accuracy"), [(12, 0.96)])
    _write_schemes(root, seed, best, figures)
    return root


def _write_schemes(root: Path, seed: int, best: str, figures: dict[str, Any]) -> None:
    base = {
        "drop_points": 0.2, "drop_points_low": -0.1, "drop_points_high": 0.5, "p_value": 0.5,
        "energy_uj": 17.523, "ratio": 13.94, "float_accuracy": 0.982, "ratio_gated_dense": 17.0,
        "ratio_gated_gated": 12.0, "ratio_with_sram": 8.6,
    }  # fmt: skip
    rows = []
    for name in SCHEMES:
        row = dict.fromkeys((column.name for column in SCHEME_COLUMNS), 0.0) | base
        row |= {"accuracy": 0.9 if name == best else 1.0 - seed / 100}
        row |= {"validation_accuracy": 0.95 if name == best else 0.9}
        row |= figures if name == best else {}
        rows.append((name, *(row[column.name] for column in SCHEME_COLUMNS)))
        float_accuracy = figures.get("float_accuracy", base["float_accuracy"])
        files.write_json(
            root / f"metrics/evaluate/{name}.json", row | {"float_accuracy": float_accuracy}
        )
        for folder in ("layers", "energy", "predictions"):
            files.write_text(root / f"plots/{folder}/{name}.csv", f"a table of {name}\n")
        (root / "models/integer").mkdir(parents=True, exist_ok=True)
        small_network().save(root / f"models/integer/{name}.safetensors")
    assumed = [
        (name, table, varied, value, weights_in, "sram", ratio, 244.193)
        for name in SCHEMES for table in ("qtools", "lab")
        for varied, value, weights_in, ratio in VARIED
    ]  # fmt: skip
    files.write_csv(root / "plots/energy-sensitivity.csv", ASSUMED, assumed)
    files.write_csv(root / "plots/schemes.csv", ["scheme", *(c.name for c in SCHEME_COLUMNS)], rows)
    for picture in ("schemes", "energy"):
        files.write_text(root / f"plots/{picture}.png", "a picture")
    link = '<a href="#top"></a><a href="../plots/energy/lab.csv"></a>'
    files.write_text(root / "report/index.html", link)


def publish_as(root: Path, name: str, **run: Any) -> Path:
    """Write a run and put it into `results/`, as publishing does but for what it leaves out."""
    folder = root / "results" / name
    write_run(folder, **run)
    best = run.get("best", "lab")
    shutil.copy(folder / f"models/integer/{best}.safetensors", folder)
    files.write_json(folder / "run.json", {
        "network": f"{best}.safetensors",
        "stages": {"train": files.read_json(folder / "logs/train.json")},
    })  # fmt: skip
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
