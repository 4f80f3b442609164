"""Every export run against its network: `python -m powtwo.tools.exports.verify [SCHEME …]`.

One line a file. What needs a tool that is not installed is skipped, and its line names the tool.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from powtwo.dataset.images import Dataset
from powtwo.export import manifest
from powtwo.integer.network import IntegerNetwork
from powtwo.tools.exports import checks, onnx_checks
from powtwo.tools.exports.exported import Export, SkippedError
from powtwo.tools.exports.programs import ToolError

CHECKS: tuple[tuple[str, Callable[[Export], str]], ...] = (  # a file or folder, and its check
    ("manifest.json", checks.check_manifest),
    ("golden.npz", checks.check_golden),
    ("network.c", checks.check_c99),
    ("memory", checks.check_memory),
    ("memory", checks.check_simulation),
    ("weight.bin", checks.check_weights),
    ("input.bin", checks.check_inputs),
    ("network.onnx", onnx_checks.check_integer),
    ("network.qdq.onnx", onnx_checks.check_qdq),
    ("network.qonnx.onnx", onnx_checks.check_qonnx),
)


@dataclass(frozen=True)
class Line:
    """The outcome of a check."""

    file: str
    outcome: str  # equal, differs, skipped
    text: str

    def __str__(self) -> str:
        prefix = "" if self.outcome == "equal" else f"{self.outcome}: "
        return f"{self.file}: {prefix}{self.text}"


def verify(root: Path, schemes: list[str]) -> Iterator[Line]:
    """Check every file of `exports/` under the project's root; yield each line once it is known.

    Args:
        root: of the project.
        schemes: which folders; all where the list is empty.

    Raises:
        ValueError: where nothing was exported.
    """
    folders = sorted(path.parent for path in root.glob(f"exports/*/{manifest.FILE}"))
    names = schemes or [folder.name for folder in folders]
    if not names:
        raise ValueError("exports: holds no export; run the export stage first")
    data = root / "data/dataset.npz"
    dataset = Dataset.load(data) if data.exists() else None
    for scheme in names:
        network = IntegerNetwork.load(root / f"models/integer/{scheme}.safetensors")
        export = Export(root / "exports" / scheme, network, dataset)
        there = {file.partition("/")[0] for file in export.manifest["files"]} | {manifest.FILE}
        for name, check in CHECKS:
            if name in there:
                yield _line(f"{scheme}/{name}", export, check)


def main(schemes: list[str]) -> int:
    """Print a line for each file; return 1 where one differs."""
    outcomes = set()
    try:
        for line in verify(Path(), schemes):
            print(line, flush=True)
            outcomes.add(line.outcome)
    except (ValueError, OSError) as error:
        print(f"verify-export: {error}", file=sys.stderr)
        return 1
    return int("differs" in outcomes)


def _line(name: str, export: Export, check: Callable[[Export], str]) -> Line:
    try:
        return Line(name, "equal", check(export))
    except SkippedError as error:
        return Line(name, "skipped", str(error))
    except (ToolError, ValueError, KeyError, OSError) as error:
        return Line(name, "differs", " ".join(str(error).split()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
