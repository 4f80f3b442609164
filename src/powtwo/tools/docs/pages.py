"""Every generated passage of README and docs: its page, its marker, and what makes its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from powtwo.tools.docs import ablation, benchmarks, energy_page, published_runs, readme
from powtwo.tools.docs.benchmarks import LoadRow, TrainRow


def passages(root: Path) -> Iterator[tuple[Path, str, Callable[[], str]]]:
    """Yield each passage of the repository at `root`."""
    page = root / "README.md"
    yield page, "headline", lambda: readme.headline(root / readme.HEADLINE)
    yield page, "results", lambda: f"{readme.work_tree(root)}\n\n{published_runs.table(root)}"
    yield page, "schemes", lambda: readme.published_schemes(root / readme.HEADLINE)
    tables: list[tuple[str, type[Any], Callable[[list[Any]], str]]] = [
        ("ablation", ablation.Row, ablation.table),
        ("speed", TrainRow, benchmarks.table),
        ("loading", LoadRow, benchmarks.table),
    ]
    for name, kind, table in tables:
        yield (
            root / "docs/training.md",
            name,
            partial(_rows, root / f"docs/{name}.csv", kind, table),
        )
    for name, text in energy_page.passages().items():
        yield root / "docs/energy.md", name, partial(str, text)


def _rows(path: Path, kind: type[Any], table: Callable[[list[Any]], str]) -> str:
    return table(benchmarks.read(path, kind))
