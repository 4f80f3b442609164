"""What an experiment measured, read from its commit: metrics and parameters are in Git."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from powtwo.core import files
from powtwo.core.params import parse_yaml
from powtwo.tools.experiments.worktree import WorkTree, code_digest, git_bytes
from powtwo.tools.published import flat

ACCURACY, COMPARE, PARAMS = "metrics/accuracy.json", "metrics/compare.json", "params.yaml"
SCHEMES = "schemes."


@dataclass(frozen=True)
class Result:
    """What is compared of a scheme; None where a price or a figure is missing."""

    scheme: str
    validation_accuracy: float  # fraction
    accuracy: float  # fraction, on test images
    energy_ratio: float | None  # FP32 energy over integer energy, of arithmetic
    size_mb: float | None


@dataclass(frozen=True)
class Outcome:
    """A run's parameters and metrics."""

    params: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    compare: Mapping[str, Any]
    code: str = ""  # a digest of what stages run

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The parameters by dotted keys, and as `code` which code it was."""
        return {"code": self.code[:7], **flat(self.params)}

    def schemes(self) -> list[str]:
        """Name the schemes that were measured."""
        return [name for name in self.compare["validation_accuracy"] if name in self.accuracy]

    def result(self, scheme: str) -> Result:
        """Return what a scheme measured."""
        ratio, size = (self.compare.get(key, {}).get(scheme) for key in ("energy_ratio", "size_mb"))
        validation = self.compare["validation_accuracy"][scheme]
        return Result(scheme, validation, self.accuracy[scheme], ratio, size)

    def best(self, changed: Collection[str]) -> Result:
        """Return the scheme of the best validation accuracy, of equal ones that of least energy.

        Args:
            changed: dotted keys in which the run differs from others. Where all are of schemes,
                the others are no part of it, and only these schemes are looked at.
        """
        schemes = self.schemes()
        if changed and all(key.startswith(SCHEMES) for key in changed):
            own = {key.split(".")[1] for key in changed}
            schemes = [name for name in schemes if name in own] or schemes
        return max(map(self.result, schemes), key=_rank)


def _rank(result: Result) -> tuple[float, float]:
    return result.validation_accuracy, result.energy_ratio or 0.0


def committed(root: Path, revision: str) -> Outcome | None:
    """Return the outcome of a commit; None where it has none that can be compared."""

    def text(name: str) -> str:
        return git_bytes(root, "cat-file", "blob", f"{revision}:{name}").decode()

    try:
        code = code_digest(root, revision)
        return _outcome(text(PARAMS), json.loads(text(ACCURACY)), json.loads(text(COMPARE)), code)
    except (ValueError, LookupError, TypeError):
        return None


def workspace(root: Path) -> Outcome | None:
    """Return what was measured last in the work tree; None where nothing was."""
    try:
        metrics = (files.read_json(root / name) for name in (ACCURACY, COMPARE))
        accuracy, compare = metrics
        code = _code(root)
        return _outcome(files.read_text(root / PARAMS), accuracy, compare, code)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _code(root: Path) -> str:
    try:
        return WorkTree.read(root).code
    except ValueError:  # it could be no experiment, as with large new files; it was measured still
        return ""


def _outcome(params: str, accuracy: Any, compare: Any, code: str) -> Outcome:
    outcome = Outcome(parse_yaml(params), accuracy, compare, code)
    figures = [*outcome.accuracy.values(), *outcome.compare["validation_accuracy"].values()]
    if not isinstance(outcome.params, dict) or not all(
        isinstance(each, float | int) for each in figures
    ):
        raise ValueError("other types")
    for scheme in outcome.schemes():
        outcome.result(scheme)
    if not outcome.schemes():
        raise ValueError("no scheme")
    return outcome
