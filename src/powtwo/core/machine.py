"""What the operating system tells of the processor, and of this process."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def processor() -> str | None:
    """Return what the processor calls itself; Linux tells in a file, others through Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def memory() -> int | None:
    """Return how many bytes of memory the machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def process_started() -> float | None:
    """Return when this process started, in seconds as `time.time`; None where only Linux tells."""
    try:
        after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2]
        # Whole ticks since the machine's start, see proc(5); it starts before it reads any code.
        ticks = int(after_name.split()[19]) + 1
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, LookupError):
        return None
    return time.time() - age
