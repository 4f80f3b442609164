"""What `benchmarks/gpu.sh` measured: docs/gpu.json, the last line that it printed, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from powtwo.core import files
from powtwo.tools.docs import markdown

RECIPES = ("cifar10-jpeg-lab", "cifar10-jpeg")
STEPS = {"eager": "one by one", "captured": "a CUDA graph", "compiled": "compiled as well"}


def table(path: Path) -> str:
    """Return Markdown: a column a recipe, and a sentence on the engine."""
    report = files.read_json(path)
    machine, engine = report["machine"], report["engines"]
    lines = markdown.table(["", *(f"`{name}`" for name in RECIPES)], list(_rows(report)))
    exact = "every code equals" if engine["all_equal"] else "not every code equals"
    return "\n".join([
        f"{machine['gpu']}, PyTorch {machine['torch']}, one run:", "", *lines, "",
        f"Engine `{engine['chosen']}`: {engine['images_per_second_on_device']:,} images/s from the "
        f"GPU's memory and {engine['images_per_second_from_host']:,} from the host's, in batches "
        f"of {engine['batch']:,}; {exact} the reference's, in three rounding modes. Tests: "
        f"{report['tests']['passed']} passed, {report['tests'].get('skipped', 0)} skipped.",
    ])  # fmt: skip


def _rows(report: dict[str, Any]) -> Iterator[list[str]]:
    trainings = [report[f"train {name}"] for name in RECIPES]
    yield ["stage `train`, s", *(f"{each['seconds']:.1f}" for each in trainings)]
    yield ["its steps", *(each["steps"] for each in trainings)]
    yield ["test accuracy", *(f"{each['test_accuracy']:.2%}" for each in trainings)]
    for kind, words in STEPS.items():
        profiles = [report[f"profile {name}"][kind] for name in RECIPES]
        yield [f"a step, {words}, ms", *(f"{each['ms_per_step']:.2f}" for each in profiles)]
    shares = [report[f"profile {name}"]["compiled"]["other_than_matrix_share"] for name in RECIPES]
    yield ["of that not matrix work", *(f"{share:.0%}" for share in shares)]
