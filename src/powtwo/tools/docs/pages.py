"""Every generated passage of README and docs: its page, its marker, and what makes its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from powtwo.tools.docs import ablation, benchmarks, energy_passages, published_runs, readme
from powtwo.tools.docs.benchmarks import LoadRow, TrainRow


def passages(root: Path) -> Iterator[tuple[Path, str, Callable[[], str]]]:
    """Yield each passage of the repository at `root`."""
    page = root / "README.md"
    yield page, "headline", lambda: readme.headline(root / readme.HEADLINE)
    yield page, "results", lambda: f"{readme.work_tree(root)}\n\n{published_runs.table(root)}"
    yield page, "schemes", lambda: readme.published_schemes(root / readme.HEADLINE)
    page = root / "docs/training.md"
    yield (
        page,
        "ablation",
        lambda: ablation.table(
            ablation.with_published(benchmarks.read(root / "docs/ablation.csv", ablation.Row), root)
        ),
    )
    for name, kind in (("speed", TrainRow), ("loading", LoadRow)):
        rows = root / f"docs/{name}.csv"
        yield page, name, partial(_benchmark, rows, kind)
    for name, text in energy_passages.passages().items():
        yield root / "docs/energy.md", name, partial(str, text)


def _benchmark(path: Path, kind: type[TrainRow] | type[LoadRow]) -> str:
    return benchmarks.table(benchmarks.read(path, kind))
