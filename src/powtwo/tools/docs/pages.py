"""Every generated passage of README and docs: its page, its marker, and what makes its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from powtwo.tools.docs import ablation, benchmarks, energy_page, lab_page, readme
from powtwo.tools.docs.benchmarks import LoadRow, TrainRow, read


def passages(root: Path) -> Iterator[tuple[Path, str, Callable[[], str]]]:
    """Yield each passage of the repository at `root`."""
    page = root / "README.md"
    yield page, "headline", lambda: readme.headline(root / readme.HEADLINE)
    yield page, "results", lambda: f"{readme.work_tree(root)}\n\n{readme.published_runs(root)}"
    yield page, "schemes", lambda: readme.published_schemes(root / readme.HEADLINE)
    page, folder = root / "docs/training.md", root / "docs"
    yield page, "ablation", lambda: ablation.table(read(folder / "ablation.csv", ablation.Row))
    yield page, "speed", lambda: benchmarks.table(read(folder / "speed.csv", TrainRow))
    yield page, "loading", lambda: benchmarks.table(read(folder / "loading.csv", LoadRow))
    for name, make in lab_page.passages(root).items():
        yield folder / "lab.md", name, make
    for name, text in energy_page.passages().items():
        yield root / "docs/energy.md", name, partial(str, text)
