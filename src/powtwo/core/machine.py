"""What the operating system tells of the processor."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str | None:
    """Return what the processor calls itself; Linux tells in a file, others through Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None
