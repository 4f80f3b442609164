"""The stage's script: files it writes, no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from energy_cases import write_integer_file, write_zeros
from metrics_tree import read_csv

from powtwo.energy.metrics import TERM_COLUMNS
from powtwo.integer import shapes

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def test_stage_writes_metrics_and_terms(tmp_path: Path) -> None:
    write_integer_file(tmp_path / "models/integer/lab.safetensors")
    layers = shapes.read(tmp_path / "models/integer/lab.safetensors")
    write_zeros(tmp_path / "plots/zeros-float.csv", layers, images=1)
    write_zeros(tmp_path / "plots/zeros/lab.csv", layers, images=2)
    params = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))
    params["schemes"] = {"lab": next(iter(params["schemes"].values()))}
    params["export"]["schemes"] = []
    params["energy"] = {"table": "lab", "zero_point": "per_use", "memory": "horowitz"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    command = [sys.executable, str(ROOT / "src" / "energy.py"), "lab"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

    metrics = json.loads((tmp_path / "metrics/energy/lab.json").read_text(encoding="utf-8"))
    # conv: 64 outputs, K = 27; linear: 5 outputs, K = 16, int32 out
    float_pj = Fraction("4.6") * (64 * 27 + 5 * 16)
    integer_pj = (64 * 27 + 5 * 16) * Fraction("0.33") + 64 * Fraction("0.04")
    assert set(metrics) == {
        "float_uj", "integer_uj", "ratio", "ratio_gated_dense", "ratio_gated_gated",
        "ratio_with_sram", "last_float_pj", "last_integer_pj",
    }  # fmt: skip
    assert metrics["float_uj"] == float(float_pj / 10**6)
    assert metrics["integer_uj"] == float(integer_pj / 10**6)
    assert metrics["ratio"] == pytest.approx(float(float_pj / integer_pj), rel=1e-7)
    # An eighth of the products is skipped, in float a quarter, and as much of the additions.
    gated = integer_pj - (64 * (27 * Fraction("0.2") + 26 * Fraction("0.1"))
                          + 5 * (16 * Fraction("0.2") + 15 * Fraction("0.1"))) / 8  # fmt: skip
    gated_float = float_pj - (64 * (27 * Fraction("3.7") + 26 * Fraction("0.9"))
                              + 5 * (16 * Fraction("3.7") + 15 * Fraction("0.9"))) / 4  # fmt: skip
    assert metrics["ratio_gated_dense"] == pytest.approx(float(float_pj / gated), rel=1e-7)
    assert metrics["ratio_gated_gated"] == pytest.approx(float(gated_float / gated), rel=1e-7)
    assert metrics["last_float_pj"] == 368  # 4.6 · 5 · 16
    assert metrics["last_integer_pj"] == 26.4  # 0.33 · 5 · 16

    total, memory = read_csv(tmp_path / "plots/totals/lab.csv")
    assert (total["part"], total["table"], total["zero_point"]) == ("arithmetic", "lab", "per_use")
    assert total["macs"] == str(64 * 27 + 5 * 16)
    assert {key: float(total[key]) for key in metrics} == metrics
    assert (memory["part"], memory["table"], memory["macs"]) == ("memory", "horowitz", "")
    assumed = read_csv(tmp_path / "plots/assumptions/lab.csv")
    assert {row["scheme"] for row in assumed} == {"lab"}
    assert float(assumed[0]["arithmetic_integer_uj"]) == metrics["integer_uj"]
    assert assumed[0]["memory_ratio"] == memory["ratio"]

    rows = read_csv(tmp_path / "plots/energy/lab.csv")
    bits = Counter()
    for row in rows:
        if (row["part"], row["arithmetic"]) == ("memory", "integer"):
            bits[row["kind"]] += int(row["count"])
    assert bits == {
        "weights_read": 8 * 188 + 32 * 9,
        "activations_read": 8 * (192 + 16),
        "activations_written": 8 * 16 + 32 * 5,
    }
    for row in rows:
        assert int(row["count"]) == int(row["times"]) * int(row["each"])
        assert Fraction(row["energy_pj"]) == int(row["count"]) * Fraction(row["price_pj"])
    assert {row["table"] for row in rows if row["part"] == "memory"} == {"horowitz"}
    rows = [row for row in rows if row["part"] == "arithmetic"]
    assert list(rows[0]) == list(TERM_COLUMNS)
    assert {row["layer"] for row in rows} == {"0", "3"}
    for arithmetic, total in (("float", float_pj), ("integer", integer_pj)):
        energies = [Fraction(row["energy_pj"]) for row in rows if row["arithmetic"] == arithmetic]
        assert sum(energies) == total


def test_energy_needs_no_torch() -> None:
    code = "import sys, powtwo.energy.metrics, powtwo.tools.docs.energy_page as page; "
    code += "page.passages(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)
