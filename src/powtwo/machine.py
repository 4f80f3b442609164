"""What the operating system tells of the machine that a stage runs on."""

from __future__ import annotations

import platform
import sys
from pathlib import Path


def processor() -> str | None:
    """Return what the processor calls itself; Linux tells in a file, others through Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has held; Windows does not tell."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
