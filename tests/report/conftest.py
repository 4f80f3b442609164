"""A recorded run on which the stage compare has run."""

from __future__ import annotations

from pathlib import Path

import metrics_tree
import pytest
from matplotlib.figure import Figure
from report_page import run_compare

from powtwo.report import page, results


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    metrics_tree.write(root)
    (root / "stdout.txt").write_text(run_compare(root), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def run(tree: Path) -> results.Results:
    return results.read(tree, metrics_tree.RECORDED)


@pytest.fixture(scope="session")
def figures(run: results.Results) -> dict[str, Figure]:
    return page.draw_figures(run)


@pytest.fixture(scope="session")
def html(tree: Path) -> str:
    return (tree / "report/index.html").read_text(encoding="utf-8")
