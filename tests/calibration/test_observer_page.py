"""docs/observer.md, followed to the letter in a tiny clone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from closure import ROOT
from test_pipeline import Clone, of_scheme

pytestmark = pytest.mark.pipeline
PAGE = (ROOT / "docs/observer.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


def said(clone: Clone, command: str) -> str:
    """Run a line of the page; the clone has no .venv, in whose place Invoke stands for ./inv."""
    program, *arguments = command.split()
    assert program == "./inv"
    done = clone.run("invoke", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_leads_from_an_idea_to_figures(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    clone.repro()
    clone.run("git", "add", "--all")
    clone.run("git", "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "-m", "before")

    with (clone.root / "src/powtwo/calibration/observers.py").open("a", encoding="utf-8") as file:
        file.write("\n\n" + block("python"))
    clone.edit_params(lambda values: values["schemes"].update(yaml.safe_load(block("yaml"))))

    again = ["calibrate@lab", "calibrate@minmax-ceil"]
    ran, shown = (said(clone, command) for command in block("sh").splitlines())
    stages = sorted([*again, *of_scheme("four-sigma"), "compare"])
    assert sorted(re.findall(r"Running stage '([^']+)'", ran)) == stages
    assert "four-sigma" in (clone.root / "plots/schemes.csv").read_text(encoding="utf-8")
    assert "metrics/evaluate/four-sigma.json" in shown

    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "",
        "tests/test_observers.py",
        "-k",
        "four",
    ]
    done = subprocess.run(
        tests, cwd=clone.root, env=clone.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b7 passed", done.stdout), done.stdout
