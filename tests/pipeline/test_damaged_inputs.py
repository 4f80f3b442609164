"""A stage whose input is damaged ends in one line, and what was written before it stays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clone import Clone, tiny_run

pytestmark = pytest.mark.pipeline

DATA, FLOAT, CLASSES = "data/dataset.npz", "models/float.safetensors", "models/float-classes.npz"
CALIBRATED, FINETUNED, INTEGER = (
    f"models/{part}/lab.safetensors" for part in ("calibrated", "finetuned", "integer")
)


def flipped(content: bytes) -> bytes:
    """Flip a bit in the middle, which is one of a number."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 2]) + content[middle + 1 :]


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_a_key(content: bytes) -> bytes:
    return content.replace(b'"accuracy"', b'"precision"')


def with_text(content: bytes) -> bytes:
    return content.replace(b'"accuracy": ', b'"accuracy": "high", "other": ')


def without_a_column(content: bytes) -> bytes:
    return content.replace(b"sqnr_db", b"other", 1)


Damage = Callable[[bytes], bytes]
CASES: list[tuple[str, str, Damage]] = [
    ("train", DATA, flipped),
    ("evaluate_float", DATA, halved),
    ("evaluate_float", FLOAT, flipped),
    ("calibrate lab", FLOAT, halved),
    ("convert lab", FINETUNED, flipped),
    ("evaluate lab", CALIBRATED, halved),
    ("evaluate lab", CLASSES, flipped),
    ("evaluate lab", INTEGER, flipped),
    ("energy lab", INTEGER, flipped),
    ("energy lab", "plots/zeros/lab.csv", halved),
    ("energy lab", "plots/zeros-float.csv", lambda content: content.replace(b"products", b"p")),
    ("export lab", INTEGER, halved),
    ("compare", "metrics/evaluate/lab.json", halved),
    ("compare", "metrics/evaluate/lab.json", without_a_key),
    ("compare", "metrics/evaluate/lab.json", with_text),
    ("compare", "metrics/train.json", lambda _: b"{}"),
    ("compare", "plots/accuracy/lab.csv", lambda content: content.replace(b"validation", b"v")),
    ("compare", "plots/totals/lab.csv", halved),
    ("compare", "plots/assumptions/lab.csv", lambda content: content.splitlines()[0]),
    ("compare", "plots/layers/lab.csv", halved),
    ("compare", "plots/zeros/lab.csv", halved),
    ("compare", "plots/layers/lab.csv", without_a_column),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return tiny_run(tmp_path_factory).copy(tmp_path_factory.mktemp("damaged"))


@pytest.mark.parametrize(("stage", "file", "damage"), CASES)
def test_a_damaged_input_ends_a_stage_in_one_line(
    clone: Clone, stage: str, file: str, damage: Damage
) -> None:
    path = clone.root / file
    whole = path.read_bytes()
    path.unlink()  # it may be a link into the cache, or shared with other copies
    path.write_bytes(damage(whole))
    before = contents(clone)
    try:
        script, *scheme = stage.split()
        done = clone.run(sys.executable, f"src/{script}.py", *scheme)
    finally:
        after = contents(clone)
        path.write_bytes(whole)
    name = stage.replace("_", "-").replace(" ", "-")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith(f"{name}: {file}: ")
    assert done.stderr.count("\n") == 1
    assert after == before


def contents(clone: Clone) -> dict[str, bytes]:
    return clone.bytes_of("data", "models", "metrics", "plots", "report", "exports")


def test_a_scheme_that_leads_out_writes_nothing(clone: Clone, tmp_path: Path) -> None:
    network = tmp_path / "network.safetensors"
    content = (clone.root / INTEGER).read_bytes()
    network.write_bytes(content.replace(rb"\"scheme\": \"lab\"", rb"\"scheme\": \"../\""))
    before = contents(clone)
    for tool in ("evaluate_network", "export_network"):
        command = (sys.executable, "-m", f"powtwo.tools.{tool}", "--network", str(network))
        done = clone.run("env", "PYTHONPATH=src", *command)
        assert done.returncode == 1
        assert f": {network}: scheme = '../': string should match pattern" in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (clone.root / "build").exists()
    assert contents(clone) == before
