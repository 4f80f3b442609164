"""Every export run against its network: `python -m powtwo.tools.exports.verify [SCHEME …]`.

One line a file. What needs a tool that is not installed is skipped, and its line names the tool.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from powtwo.dataset.images import Dataset
from powtwo.export import manifest
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar.one_line import one_line_errors
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


def verify(root: Path, schemes: list[str]) -> Iterator[tuple[str, str]]:
    """Check every file of `exports/` under the project's root, of all schemes by default.

    Yields:
        The file and what is equal, or "differs: …", or "skipped: …", once it is known; and each
        format that is left out, with its reason.

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
                yield f"{scheme}/{name}", _outcome(export, check)
        for name, reason in manifest.left_out(export.manifest).items():
            yield f"{scheme}/{name}", f"left out: {reason}"


def main(schemes: list[str]) -> int:
    """Print a line for each file; return 1 where one differs."""
    with one_line_errors("verify-export"):
        differs = False
        for file, outcome in verify(Path(), schemes):
            print(f"{file}: {outcome}", flush=True)
            differs |= outcome.startswith("differs: ")
        return int(differs)


def _outcome(export: Export, check: Callable[[Export], str]) -> str:
    try:
        return check(export)
    except SkippedError as error:
        return f"skipped: {error}"
    except (ToolError, ValueError, KeyError, OSError) as error:
        return f"differs: {' '.join(str(error).split())}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
