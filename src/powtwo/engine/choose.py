"""Which engine to run: by name, or the fastest that proves exact here."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from powtwo.engine import gpu
from powtwo.engine.base import Engine, Reference
from powtwo.engine.floats import Float, FloatStep
from powtwo.engine.gpu import Gpu
from powtwo.engine.int8 import Int8
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Gpu, Int8, Float, Reference)}
PROBE_IMAGES = 4


def make(network: IntegerNetwork, name: str = "auto", device: str | None = None) -> Engine:
    """Return an engine for a network.

    `auto` tries engines in turn on a few random images and takes the first whose every code equals
    the reference's; it says on stderr which it passed over. Kernels for CPUs without VNNI add
    products in 16 bits and saturate: only a comparison on the machine itself can tell. The first
    is `gpu` where PyTorch sees a GPU (none with `CUDA_VISIBLE_DEVICES=`): no result depends on it.

    Args:
        network: what to run.
        name: of an engine, or `auto`.
        device: cpu or cuda; None is a GPU where there is one.

    Raises:
        ValueError: where no engine has this name.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() and name in {"auto", Gpu.name} else "cpu"
    if name in ENGINES:
        return ENGINES[name](network, device)
    if name != "auto":
        raise ValueError(f"engine = {name!r}: must be auto, {', '.join(sorted(ENGINES))}")
    candidates: list[tuple[type[Engine], str]] = [(Int8, "cpu"), (Float, "cpu")]
    if device != "cpu":
        candidates.insert(0, (Gpu, device))
    for candidate, place in candidates:
        reason = _inexact(candidate, network, place)
        if reason is None:
            return candidate(network, place)
        print(
            f"engine {candidate.name} is not exact here ({reason}); falling back", file=sys.stderr
        )
    return Reference(network)


def layer_step(layer: Layer, rounding: Rounding) -> Callable[..., Tensor]:
    """Return one layer that gives codes, exact, on a GPU where there is one.

    It takes, of each input, and gives centered codes x̄ − z, int16 (N, C, H, W) or (N, C).
    """
    if torch.cuda.is_available():
        return gpu.on_centered(layer, rounding, torch.device("cuda"))
    step = FloatStep(layer, rounding, torch.device("cpu"))
    return lambda *codes: step(*(x.float() for x in codes)).to(torch.int16)


def _inexact(candidate: type[Engine], network: IntegerNetwork, device: str) -> str | None:
    """Return why an engine must not be used, or None where it equals the reference."""
    generator = torch.Generator().manual_seed(0)
    shape = (PROBE_IMAGES, *network.input.shape)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    pixels[0] = 255  # the largest sums, where 16 bits overflow first
    try:
        outputs = list(candidate(network, device).outputs(pixels))
    except (RuntimeError, NotImplementedError, ValueError) as error:
        return f"it cannot run: {str(error).splitlines()[0]}"
    for index, (_, expected) in enumerate(network.outputs(pixels)):
        if not torch.equal(outputs[index].cpu(), expected):
            return f"layer {index} differs from the reference"
    return None
