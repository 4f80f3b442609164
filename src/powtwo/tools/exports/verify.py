"""Every export run against the network it came from: one line each.

What needs a tool that is not installed is skipped, and its line names the tool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from powtwo.dataset.images import Dataset
from powtwo.export import manifest, rtl
from powtwo.integer.network import IntegerNetwork
from powtwo.tools.exports import checks, onnx_checks
from powtwo.tools.exports.exported import Export
from powtwo.tools.exports.programs import SkippedError, ToolError

MODELS = "models/integer"
DATASET = "data/dataset.npz"
EXPORTS = "exports"
BENCH = [Path(rtl.__file__).with_name(name) for name in ("layer_tb.v", "requantize.v")]

Check = Callable[[Export], str]

# What a line calls it, the file that must be there, the check.
CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("manifest.json", "golden.npz", checks.check_manifest),
    ("golden.npz", "golden.npz", checks.check_golden),
    ("network.c", "network.c", checks.check_c99),
    ("memory", "memory/golden/input.hex", checks.check_memory),
    ("memory", "memory/golden/input.hex", checks.check_simulation),
    ("weight.bin", "weight.bin", checks.check_weights),
    ("input.bin", "input.bin", checks.check_inputs),
    ("network.onnx", "network.onnx", onnx_checks.check_integer),
    ("network.qdq.onnx", "network.qdq.onnx", onnx_checks.check_qdq),
    ("network.qonnx.onnx", "network.qonnx.onnx", onnx_checks.check_qonnx),
)


@dataclass(frozen=True)
class Line:
    """What was found of one file."""

    file: str
    outcome: str  # equal, differs, skipped
    text: str

    def __str__(self) -> str:
        prefix = "" if self.outcome == "equal" else f"{self.outcome}: "
        return f"{self.file}: {prefix}{self.text}"


def verify(export: Export) -> Iterator[Line]:
    """Run the checks of every file that the export has; yield each line once it is known."""
    listed = export.about["files"]
    for name, file, check in CHECKS:
        if file in listed:
            yield _line(f"{export.folder.name}/{name}", export, check)


def verify_all(root: Path, schemes: list[str] | None = None) -> Iterator[Line]:
    """Verify every folder of `exports/` under the project's root, or those of some schemes.

    Raises:
        ValueError: where nothing was exported.
    """
    folders = sorted(path.parent for path in (root / EXPORTS).glob(f"*/{manifest.FILE}"))
    names = schemes or [folder.name for folder in folders]
    if not names:
        raise ValueError(f"{EXPORTS}: holds no export; run the export stage first")
    data = root / DATASET
    dataset = Dataset.load(data) if data.exists() else None
    for name in names:
        network = IntegerNetwork.load(root / MODELS / f"{name}.safetensors")
        yield from verify(Export(root / EXPORTS / name, network, dataset, BENCH))


def _line(name: str, export: Export, check: Check) -> Line:
    try:
        return Line(name, "equal", check(export))
    except SkippedError as error:
        return Line(name, "skipped", str(error))
    except (ToolError, ValueError, KeyError, OSError) as error:
        return Line(name, "differs", " ".join(str(error).split()))
