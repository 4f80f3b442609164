"""The C compiler and Verilog simulators, run on an export's files; each says when it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.export import packing, rtl
from powtwo.integer.rounding import Rounding
from powtwo.tools.exports.exported import SkippedError

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")
FAST = ("-O3",)  # the dot product becomes vectors: ten times as fast as -O2 under gcc 12
BATCH = 100  # images a process
TESTBENCH = Path(rtl.__file__).parent
MODULES = ("layer_tb.v", "requantize.v", "shift_dot.v", "packed_dot.v")


class ToolError(RuntimeError):
    """A program failed on an export's files, which it should read."""


def find(*names: str) -> str:
    """Return the path of the first program of these that is there.

    Raises:
        SkippedError: where none is.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    raise SkippedError(f"{' or '.join(names)} is not installed")


def compile_c(
    folder: Path, program: Path, compiler: str | None = None, flags: Sequence[str] = FAST
) -> Path:
    """Compile `network.c` and `main.c` of a folder to `program`, every warning an error.

    The compiler is the first of cc, gcc and clang by default; the flags are beside `STRICT`.

    Raises:
        SkippedError: where there is no such compiler.
        ToolError: where it refuses the sources.
    """
    compilers = (compiler,) if compiler else ("cc", "gcc", "clang")
    sources = [str(folder / name) for name in ("network.c", "main.c")]
    run_tool([find(*compilers), *STRICT, *flags, *sources, "-o", str(program)])
    return program


def run_c(program: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the logits (N, classes) that the compiled program prints for uint8 (N, C, H, W)."""
    batches = np.split(pixels, range(BATCH, len(pixels), BATCH))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(partial(_logits, program), batches)))


def _logits(program: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    lines = run_tool([str(program)], pixels.tobytes()).splitlines()
    return np.array([line.split() for line in lines]).astype(np.int64)


def simulate(
    folder: Path,
    manifest: dict[str, Any],
    index: int,
    images: int = 1,
    *,
    testbench: Path = TESTBENCH,
    simulator: str = "Icarus Verilog",
) -> str:
    """Run a weighted layer of an export in Verilog, by its manifest and memory images alone.

    The simulator is one of `SIMULATORS`.

    Returns:
        The testbench's last line: "… words equal" or "… words differ".

    Raises:
        SkippedError: where the simulator is not installed.
        ToolError: where it refuses a source or an image.
    """
    layer = manifest["layers"][index]
    if not is_simulated(layer):
        raise SkippedError(f"layer {index}: the testbench knows square windows without groups")
    values = _parameters(manifest, layer) | {"SIMULATED": images}
    sources = [str(testbench / name) for name in MODULES]
    with tempfile.TemporaryDirectory() as scratch:
        command = SIMULATORS[simulator](sources, values, Path(scratch))
        # Run where the files are: the testbench keeps 256 characters of a name.
        printed = run_tool([*command, *_files(layer)], folder=folder).decode(errors="replace")
    lines = printed.strip().splitlines() or ["nothing printed"]
    if "WARNING" in printed or "ERROR" in printed:
        raise ToolError(lines[0])
    return next((line for line in lines if line.endswith((" equal", " differ"))), lines[-1])


def _icarus(sources: list[str], values: dict[str, int], scratch: Path) -> list[str]:
    """Compile the testbench with these parameters; return the command that runs it."""
    compiler, simulator, program = find("iverilog"), find("vvp"), str(scratch / "layer.vvp")
    defined = [f"-Player_tb.{name}={value}" for name, value in values.items()]
    run_tool([compiler, "-g2005", "-s", "layer_tb", *defined, "-o", program, *sources])
    return [simulator, "-n", program]


def _verilator(sources: list[str], values: dict[str, int], scratch: Path) -> list[str]:
    """Do what `_icarus` does; the style of a testbench is none of Verilator's business."""
    options = ("--binary", "--timing", "--top-module", "layer_tb", "-Wno-lint", "-Wno-style")
    defined = [f"-G{name}={value}" for name, value in values.items()]
    run_tool([find("verilator"), *options, *defined, "--Mdir", str(scratch), *sources])
    return [str(scratch / "Vlayer_tb")]


SIMULATORS = {"Icarus Verilog": _icarus, "Verilator": _verilator}


def _parameters(manifest: dict[str, Any], layer: dict[str, Any]) -> dict[str, int]:
    """Return the testbench's parameters for a layer; a linear layer has one pixel."""
    inputs, outputs = ([*layer[f"{side}_shape"], 1, 1][:3] for side in ("input", "output"))
    values = {
        **dict(zip(("CHANNELS", "HEIGHT", "WIDTH"), inputs, strict=True)),
        **dict(zip(("OUT_CHANNELS", "OUT_HEIGHT", "OUT_WIDTH"), outputs, strict=True)),
        "IMAGES": manifest["memory"]["golden_images"],
        "KERNEL": layer.get("kernel", 1),
        "STRIDE": layer.get("stride", 1),
        "PADDING": layer.get("padding", 0),
        "INPUT_ZERO_POINT": layer["input_zero_point"],
        "RELU": int(layer["relu"]),
        "HALF_EVEN": int(manifest["rounding"] == Rounding.HALF_EVEN),
        "INT32": int(layer["output"] == "int32"),
        "ACC_BITS": layer.get("accumulator_bits", 32),
    }
    if "tile_ends" in layer["memory"]:
        values |= {"TILES": layer["memory"]["tile_ends"]["shape"][1]}
    if layer["memory"]["weight"]["bits"] == packing.WORD_BITS:
        layout = layer["packing"]
        values |= {"CODE_BITS": layout["code_bits"]}
        values |= {"POWERS": list(packing.CODES.values()).index(layout["code"])}
    if layer["output"] == "codes":
        values |= {
            "OUTPUT_ZERO_POINT": layer["output_zero_point"],
            "OUTPUT_MAX": layer.get("maximum", 2 ** layer["output_bits"] - 1),
            "SHIFT": 0 if isinstance(layer["shift"], list) else layer["shift"],
        }
    return values


def is_simulated(layer: dict[str, Any]) -> bool:
    """Tell whether the testbench knows a layer of a manifest: square windows, no groups."""
    sides = [layer.get(key, 0) for key in ("kernel", "stride", "padding")]
    plain = layer["kind"] in ("conv2d", "linear") and "groups" not in layer
    return plain and all(isinstance(side, int) for side in sides)


def _files(layer: dict[str, Any]) -> list[str]:
    """Return the testbench's arguments: where a layer's memory images lie."""
    memory = layer["memory"]
    files = {"input": memory["input"], "golden": memory["output"]["file"]}
    roles = {"weight": "weight", "bias": "bias", "shift": "shift", "tiles": "tile_ends"}
    files |= {name: memory[role]["file"] for name, role in roles.items() if role in memory}
    return [f"+{role}={file}" for role, file in files.items()]


def run_tool(command: Sequence[str], stdin: bytes = b"", folder: Path | None = None) -> bytes:
    """Return what a program prints.

    Raises:
        ToolError: where it fails, with its first line that speaks of an error.
    """
    name = Path(command[0]).name
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=folder)
    if done.returncode:
        text = (done.stdout + done.stderr).decode(errors="replace")
        lines = [line for line in text.splitlines() if "error" in line.lower()] or [text]
        raise ToolError(f"{name}: {lines[0].strip() or f'exit code {done.returncode}'}")
    return done.stdout
