"""The C program against the reference, code by code, under strict compilers and sanitizers."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_cases import edge_network, needs, odd_network, pixels_for, small_network
from hypothesis import given, settings
from networks import ROUNDINGS, networks, random_network

from powtwo.calibration import exponents as calibration
from powtwo.conversion import to_integer as conversion
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.normalization import Normalization
from powtwo.export.c99 import sources as c99
from powtwo.export.errors import UnsupportedError
from powtwo.integer.layer import Layer, WeightFormat
from powtwo.integer.network import IntegerNetwork
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint
from powtwo.tools.exports import programs as tools

SANITIZED = ("-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
NO_FLOAT = ("-O2", "-c", "-mgeneral-regs-only")


def write(folder: Path, sources: dict[str, str]) -> Path:
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def codes_in_c(
    sources: dict[str, str], network: IntegerNetwork, pixels: np.ndarray, flags: tuple[str, ...]
) -> list[np.ndarray]:
    """Return the output of each layer but flattening, as the compiled program traces it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(Path(scratch), sources)
        program = tools.compile_c(folder, folder / "run", "gcc", ("-DNETWORK_TRACE", *flags))
        done = subprocess.run([program], input=pixels.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    moving = [i for i, layer in enumerate(network.layers) if layer.kind != "flatten"]
    found: dict[str, list[list[int]]] = {f"{i}": [] for i in moving} | {"logits": []}
    for line in done.stdout.decode().splitlines():
        head, colon, tail = line.rpartition(": ")
        found[head if colon else "logits"].append([int(word) for word in tail.split()])
    return [np.array(rows) for rows in found.values() if rows]


def expected_codes(network: IntegerNetwork, pixels: np.ndarray) -> list[np.ndarray]:
    """Return what the reference gives at the same places."""
    outputs = [output for _, output in network.outputs(torch.from_numpy(pixels))]
    pairs = zip(network.layers, outputs, strict=True)
    traced = [
        output.flatten(1).numpy()
        for layer, output in pairs
        if layer.kind != "flatten" and not (layer.has_weights and layer.output is None)
    ]
    return [*traced, outputs[-1].numpy()]


def differs(sources: dict[str, str], network: IntegerNetwork, pixels: np.ndarray) -> bool:
    found = codes_in_c(sources, network, pixels, ("-O1",))
    pairs = zip(found, expected_codes(network, pixels), strict=True)
    return not all(np.array_equal(one, other) for one, other in pairs)


def assert_equal(network: IntegerNetwork, pixels: np.ndarray, flags: tuple[str, ...]) -> None:
    found = codes_in_c(c99.sources(network), network, pixels, flags)
    for one, other in zip(found, expected_codes(network, pixels), strict=True):
        assert np.array_equal(one, other)


@needs("gcc")
@settings(max_examples=25, deadline=None)
@given(network=networks)
def test_every_code_is_the_references_and_nothing_is_undefined(network: IntegerNetwork) -> None:
    assert_equal(network, pixels_for(network), SANITIZED)


@needs("gcc")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("relu", [True, False])
def test_strides_pools_tables_and_wide_images(rounding: str, relu: bool) -> None:
    network = odd_network(rounding, relu)
    assert_equal(network, pixels_for(network), SANITIZED)


@needs("gcc")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("shift", "bias"), [(0, 2**31 - 40_000), (31, 2**30 - 40_000)])
def test_sums_at_the_edge_of_32_bits(shift: int, bias: int, rounding: str) -> None:
    network = edge_network(shift, bias, rounding)
    pixels = pixels_for(network, 40)
    pixels[2:4] = np.array([0, 255, 255, 0], np.uint8).reshape(2, 2, 1, 1)
    assert_equal(network, pixels, SANITIZED)


@needs("gcc")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_weights_that_are_powers_of_two_are_shifts(bits: int, rounding: str) -> None:
    network = random_network(5, rounding, weight_bits=bits, kind="power_of_two")
    assert_equal(network, pixels_for(network), SANITIZED)
    stored = [c99._weights(layer) for layer in network.layers if layer.has_weights]
    assert max(abs(w).max() for w in stored) == 2 ** (bits - 1) - 1  # the exponents there are
    first = replace(network.layers[0], weight_format=WeightFormat(8))  # beside a uniform layer
    assert_equal(
        replace(network, layers=(first, *network.layers[1:])), pixels_for(network), SANITIZED
    )


@needs("gcc")
def test_the_comparison_sees_every_mutation_of_a_shift() -> None:
    network = random_network(5, "floor", weight_bits=4, kind="power_of_two")
    sources, pixels = c99.sources(network), pixels_for(network)
    assert not differs(sources, network, pixels)
    for old, new in [
        ("x << (w[k] - 1)", "x << w[k]"),
        ("a -= x << (-w[k] - 1)", "a += x << (-w[k] - 1)"),
        ("w[k] < 0", "w[k] < -1"),
        (".powers = 1", ".powers = 0"),
        ("-(int32_t)~a - 1", "-(int32_t)~a"),
    ]:
        assert old in sources["network.c"], old
        mutated = sources | {"network.c": sources["network.c"].replace(old, new, 1)}
        assert differs(mutated, network, pixels), old


@pytest.mark.parametrize("kind", ["dyadic", "standard"])
@pytest.mark.parametrize("logits", ["codes", "int32"])
@needs("gcc")
def test_a_converted_vgg_gives_the_references_logits(
    kind: str, logits: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    architecture = Architecture((16, "M", 24, "M", 32, "M"), (48,), 10)
    float_network = architecture.build().train()
    float_network(torch.randn(16, 3, 32, 32))
    standard = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)) if kind == "standard" else ()
    normalization = Normalization(kind, *standard)
    checkpoint = Checkpoint(architecture, normalization, dict(float_network.state_dict()))
    images = torch.randint(0, 256, (120, 3, 32, 32), dtype=torch.uint8)
    quantizer = {"observer": "minmax-round", "bits": 8}
    scheme = Scheme.model_validate(
        {"weights": quantizer, "activations": quantizer, "rounding": "half_up", "logits": logits}
    )
    names = tuple("abcdefghij")
    calibrated = calibration.calibrate(checkpoint, names, images[:16], scheme, 16)
    network = conversion.convert(calibrated, "vgg", scheme).network
    program = tools.compile_c(write(tmp_path, c99.sources(network)), tmp_path / "run", "gcc")
    assert np.array_equal(tools.run_c(program, images.numpy()), network.logits(images).numpy())


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_strict_compilers_take_it_and_find_no_float(
    compiler: str, rounding: str, tmp_path: Path
) -> None:
    if tools.shutil.which(compiler) is None:
        pytest.skip(f"{compiler}: not installed")
    for network in (odd_network(rounding), small_network(rounding)):
        folder = write(tmp_path, c99.sources(network))
        pixels = pixels_for(network)
        program = tools.compile_c(folder, tmp_path / "run", compiler)
        expected = network.logits(torch.from_numpy(pixels)).numpy()
        assert np.array_equal(tools.run_c(program, pixels), expected)
        source, target = str(folder / "network.c"), str(tmp_path / "network.o")
        command = [compiler, *tools.STRICT, *NO_FLOAT, source, "-o", target]
        assert subprocess.run(command, check=False).returncode == 0


def mutations(network: IntegerNetwork) -> list[tuple[str, str, str]]:
    shift = "l->shift[o * l->shift_step]"
    other = "half_even" if network.rounding == "floor" else "floor"
    bodies = c99.templates.SHIFTS
    return [
        ("a shift off by one", shift, f"{shift} + 1"),
        ("rounding swapped", bodies[network.rounding], bodies[other]),
        ("input zero point 127", ".input_zero_point = 128", ".input_zero_point = 127"),
        ("output zero point 127", ".output_zero_point = 128", ".output_zero_point = 127"),
        ("padding 0", "code = l->input_zero_point; /*", "code = 0; /*"),
        ("ReLU lost", ".relu = 1", ".relu = 0"),
        ("codes above 254 lost", ".output_max = 255", ".output_max = 254"),
    ]


@needs("gcc")
@pytest.mark.parametrize("rounding", ["floor", "half_even"])
def test_the_comparison_sees_every_mutation(rounding: str) -> None:
    network = random_network(3, rounding)
    sources, pixels = c99.sources(network), pixels_for(network)
    assert not differs(sources, network, pixels)
    for name, old, new in mutations(network):
        assert old in sources["network.c"], name
        mutated = sources | {"network.c": sources["network.c"].replace(old, new, 1)}
        assert differs(mutated, network, pixels), name


@needs("gcc")
def test_the_comparison_sees_a_bias_that_was_not_folded() -> None:
    network = random_network(3, "half_up")
    unfolded = c99.sources(replace(network, rounding="floor"))
    assert differs(unfolded, network, pixels_for(network))


@needs("gcc")
def test_of_equal_logits_the_first_class_wins(tmp_path: Path) -> None:
    main = """#include <stdio.h>
    #include "network.h"
    int main(void)
    {
        const int32_t logits[NETWORK_LOGITS] = {-9, -3, -7, -3, -4};
        printf("%d %s\\n", (int)network_class(logits), network_class_names[0]);
        return 0;
    }
    """
    names = ('ä"??/\\', "b", "c", "d", "e")
    network = replace(random_network(1), classes=names)
    write(tmp_path, c99.sources(network) | {"main.c": main})
    program = tools.compile_c(tmp_path, tmp_path / "run", "gcc", ("-O1",))
    printed = subprocess.run([program], capture_output=True, check=True).stdout.decode()
    assert printed == f"1 {names[0]}\n"


def test_the_stated_memory_is_what_the_largest_layer_needs() -> None:
    network = random_network(1)  # 3x8x8 pixels of the caller; 8x8x8 pools to 8x4x4 …
    assert c99.sizes(network)["arena"] == 512 + 128
    assert c99.sizes(network)["patch"] == 2 * 96  # the linear layer's 6x4x4 inputs
    weights = 8 * 27 + 6 * 72 + 12 * 96 + 5 * 12
    assert c99.sizes(network)["constants"] == weights + 4 * (8 + 6 + 12 + 5) + 3
    header = c99.sources(network)["network.h"]
    assert "NETWORK_ARENA_BYTES = 640," in header


@needs("gcc")
def test_the_program_holds_no_more_memory_than_it_states(tmp_path: Path) -> None:
    network = odd_network()
    write(tmp_path, c99.sources(network))
    target = tmp_path / "network.o"
    command = ["gcc", "-std=c99", "-O2", "-c", tmp_path / "network.c", "-o", target]
    subprocess.run(command, check=True)
    if tools.shutil.which("size") is None:
        pytest.skip("size (binutils): not installed")
    listed = subprocess.run(["size", "-A", target], capture_output=True, check=True).stdout.decode()
    bss = next(int(line.split()[1]) for line in listed.splitlines() if line.startswith(".bss"))
    sizes = c99.sizes(network)
    assert sizes["arena"] + sizes["patch"] <= bss < sizes["arena"] + sizes["patch"] + 64


def test_the_text_is_the_same_each_time_and_free_of_floats() -> None:
    network = odd_network()
    assert c99.sources(network) == c99.sources(network)
    text = c99.sources(network)["network.c"]
    assert max(map(len, text.splitlines())) <= 100
    for word in ("float", "double", "malloc"):
        assert word not in text


def test_a_network_that_c_cannot_say_is_refused() -> None:
    network = random_network(1)
    layers = list(network.layers)
    layers[2] = replace(layers[2], output=None)
    with pytest.raises(UnsupportedError, match="C99: layer 4 would take int32 accumulators"):
        c99.sources(replace(network, layers=tuple(layers)))
    with pytest.raises(UnsupportedError, match="C99: layer 6 is a softmax: must be one of"):
        c99.sources(replace(network, layers=(*network.layers, Layer("softmax"))))


@needs("gcc")
def test_a_cut_off_image_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, c99.sources(random_network(1)))
    program = tools.compile_c(tmp_path, tmp_path / "run", "gcc", ("-O1",))
    done = subprocess.run([program], input=b"\0" * 100, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"the last image is cut off: 192 bytes are needed" in done.stderr


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    with pytest.raises(tools.MissingToolError, match="no-such-cc is not installed"):
        tools.compile_c(tmp_path, tmp_path / "run", "no-such-cc")
