"""docs/observer.md, followed to the letter in a copy of the tiny pipeline."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from clone import Clone, of_scheme, tiny_run
from closure import ROOT

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
PAGE = (ROOT / "docs/observer.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return text


def run(clone: Clone, command: str) -> str:
    """Run a line of the page; the clone has no .venv, so Invoke stands in for ./inv."""
    program, *arguments = command.split()
    assert program == "./inv"
    done = clone.run("invoke", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_leads_from_an_idea_to_figures(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tiny_run(tmp_path_factory).copy(tmp_path / "copy")
    clone.run("git", "add", "--all")
    clone.run("git", "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "-m", "before")
    (module,) = re.findall(r"end of `(src/\S+\.py)`", PAGE)
    clone.edit(module, new="\n\n" + block("python"))
    clone.edit_params(lambda values: values["schemes"].update(yaml.safe_load(block("yaml"))))

    ran, shown = (run(clone, command) for command in block("sh").splitlines())
    again = [
        "source",
        "calibrate@lab",
        "calibrate@minmax-ceil",
        *of_scheme("four-sigma"),
        "compare",
    ]
    assert sorted(re.findall(r"Running stage '([^']+)'", ran)) == sorted(again)
    assert "four-sigma" in (clone.root / "plots/schemes.csv").read_text(encoding="utf-8")
    assert re.search(r"metrics/accuracy.json +four-sigma ", shown)
    for key in ("drop_points", "energy_ratio", "min_sqnr_db", "size_mb", "validation_accuracy"):
        assert re.search(rf"metrics/compare.json +{key}.four-sigma ", shown)

    (tests,) = re.findall(r"`./inv test -- (\S+)`", PAGE)
    pytest_run = (sys.executable, "-m", "pytest", "-q", "-m", "", tests, "-k", "four-sigma-round")
    done = clone.run(*pytest_run)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[1-9]\d* passed", done.stdout), done.stdout
