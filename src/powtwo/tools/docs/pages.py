"""Every generated passage of README and docs: its page, its marker, and what makes its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from powtwo.report.figures.style import png
from powtwo.tools.docs import ablation, benchmarks, energy_page, gpu_run, lab_page, networks, readme
from powtwo.tools.docs.benchmarks import FinetuneRow, LoadRow, SizeRow, TrainRow, read


def passages(root: Path) -> Iterator[tuple[Path, str, Callable[[], str]]]:
    """Yield each passage of the repository at `root`."""
    page = root / "README.md"
    yield page, "headline", lambda: readme.headline(root / readme.HEADLINE)
    yield page, "edit", lambda: readme.edit(root)
    yield page, "best", lambda: readme.best(root / readme.HEADLINE)
    page, folder = root / "docs/results.md", root / "docs"
    yield page, "run", lambda: readme.work_tree(root)
    yield page, "published", lambda: readme.published_runs(root)
    yield page, "tuned", lambda: readme.published_schemes(root / readme.HEADLINE)
    yield page, "schemes", lambda: readme.published_schemes(root / readme.CALIBRATED)
    page = root / "docs/training.md"
    yield page, "ablation", lambda: ablation.table(read(folder / "ablation.csv", ablation.Row))
    yield page, "speed", lambda: benchmarks.table(read(folder / "speed.csv", TrainRow))
    yield page, "loading", lambda: benchmarks.table(read(folder / "loading.csv", LoadRow))
    yield page, "gpu", lambda: gpu_run.table(folder / "gpu.json")
    yield folder / "networks.md", "results", lambda: networks.table(networks.read(root))
    tuned = folder / "finetuning.csv"
    yield folder / "schemes.md", "finetuning", lambda: benchmarks.table(read(tuned, FinetuneRow))
    sizes = folder / "c_size.csv"
    yield folder / "c.md", "size", lambda: benchmarks.table(read(sizes, SizeRow))
    for name, make in lab_page.passages(root).items():
        yield folder / "lab.md", name, make
    for name, text in energy_page.passages().items():
        yield root / "docs/energy.md", name, partial(str, text)


def pictures(root: Path) -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """Yield each generated picture of the repository at `root`, and what makes its bytes."""
    yield root / "docs/headline.png", lambda: png(readme.headline_figure(root / readme.HEADLINE))
    yield root / "docs/networks.png", lambda: png(networks.picture(networks.read(root)))
