"""The C program against the reference, code by code, under strict compilers and sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from export_cases import edge_network, needs, odd_network, pixels_for, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ROUNDINGS, narrowed, network_of, networks, random_network

from powtwo.export.c99.names import prefix_for
from powtwo.export.c99.sources import sizes, sources
from powtwo.export.steps import UnsupportedError, steps_of
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat
from powtwo.integer.network import IntegerNetwork
from powtwo.tools.exports.programs import STRICT, compile_c, run_c

SANITIZED = ("-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
WRAPS = ("-O1", "-fsanitize=undefined,integer,address", "-fno-sanitize-recover=all",
         "-Wno-conversion", "-Wno-implicit-int-conversion")  # fmt: skip
SUM = "a = (int16_t)(a + weight_at(l, o, count, k) * patch[k]);"
NO_FLOAT = ("-O2", "-c", "-mgeneral-regs-only")


def sources_of(network: IntegerNetwork, packed: bool = False) -> dict[str, bytes]:
    return sources(network, steps_of(network), packed=packed)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, text in files.items():
        (folder / name).write_bytes(text)
    return folder


def codes_in_c(
    files: dict[str, bytes],
    network: IntegerNetwork,
    pixels: np.ndarray,
    flags: tuple[str, ...],
    compiler: str,
) -> list[np.ndarray]:
    """Return the output of each layer but flattening, as the compiled program traces it."""
    with TemporaryDirectory() as scratch:
        folder = write(Path(scratch), files)
        trace = f"-D{prefix_for(network.scheme).upper()}_TRACE"
        program = compile_c(folder, folder / "run", compiler, (trace, *flags))
        done = subprocess.run([program], input=pixels.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    moving = [i for i, layer in enumerate(network.layers) if layer.kind != "flatten"]
    rows: dict[str, list[list[int]]] = {f"{i}": [] for i in moving} | {"logits": []}
    for line in done.stdout.decode().splitlines():
        head, colon, tail = line.rpartition(": ")
        rows[head if colon else "logits"].append([int(word) for word in tail.split()])
    return [np.array(values) for values in rows.values() if values]


def expected_codes(network: IntegerNetwork, pixels: np.ndarray) -> list[np.ndarray]:
    """Return what the reference gives at the same places."""
    outputs = [output for _, output in network.outputs(torch.from_numpy(pixels))]
    traced = [
        output.flatten(1).numpy()
        for layer, output in zip(network.layers, outputs, strict=True)
        if layer.kind != "flatten" and not (layer.has_weights and layer.output is None)
    ]
    return [*traced, outputs[-1].numpy()]


def agrees(
    files: dict[str, bytes],
    network: IntegerNetwork,
    pixels: np.ndarray,
    flags: tuple[str, ...] = ("-O1",),
    compiler: str = "gcc",
) -> bool:
    in_c = codes_in_c(files, network, pixels, flags, compiler)
    expected = expected_codes(network, pixels)
    return all(np.array_equal(*pair) for pair in zip(in_c, expected, strict=True))


def is_right(
    network: IntegerNetwork, pixels: np.ndarray | None = None, packed: bool = False
) -> bool:
    pixels = pixels_for(network) if pixels is None else pixels
    return agrees(sources_of(network, packed), network, pixels, SANITIZED)


@needs("gcc")
@settings(max_examples=25, deadline=None)
@given(network=networks, packed=st.booleans())
def test_every_code_is_the_references_and_nothing_is_undefined(
    network: IntegerNetwork, packed: bool
) -> None:
    assert is_right(network, packed=packed)


@needs("gcc")
@settings(max_examples=25, deadline=None)
@given(network=networks, packed=st.booleans(), bits=st.sampled_from([None, 12, 16]))
def test_accumulators_of_few_bits_give_every_code_as_well(
    network: IntegerNetwork, packed: bool, bits: int | None
) -> None:
    assert is_right(narrowed(network, bits), packed=packed)


def without_cast(files: dict[str, bytes]) -> dict[str, bytes]:
    """Let clang's sanitizer see each sum that int16 does not hold, which the cast hides."""
    text, bare = files["network.c"].decode(), SUM.replace("(int16_t)(", "").replace("[k])", "[k]")
    assert SUM in text
    return files | {"network.c": text.replace(SUM, bare).encode()}


@needs("clang")
@pytest.mark.parametrize("times", [1, 3])
def test_sums_and_tiles_at_the_edge_of_16_bits(times: int) -> None:
    """127 · 127 + 127 · 128 + 382 is 2^15 - 1; three times as many taps are three tiles."""
    weight = torch.tensor([[127, -127] * times] * 2, dtype=torch.int8)
    bias = torch.tensor([382, -382], dtype=torch.int32)
    layer = Layer("linear", weight, bias, input=ActivationQParams(-7))
    network = network_of(Layer("flatten"), layer, shape=(2 * times, 1, 1))
    network = narrowed(network) if times == 1 else narrowed(network, 16)
    assert network.layers[1].accumulator_bits == 16
    assert (network.layers[1].tile_ends is None) == (times == 1)
    pixels = np.array([[255, 0] * times, [0, 255] * times], np.uint8)[..., None, None]
    sums = network.logits(torch.from_numpy(pixels))
    assert sums.tolist() == [[32385 * times * n + b for b in (382, -382)] for n in (1, -1)]
    files = sources_of(network)
    assert agrees(without_cast(files), network, pixels, WRAPS, "clang")
    text = files["network.c"].replace(b"l->tile_ends ? l->tile_ends + o * l->tiles : 0", b"0")
    whole = files | {"network.c": text}  # one sum an output, whatever the tiles
    assert agrees(whole, network, pixels) is (times == 1)


@needs("clang")
@pytest.mark.parametrize(
    ("kind", "bits"), [("uniform", None), ("uniform", 12), ("power_of_two", 15)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_no_sum_of_16_bits_wraps(kind: str, bits: int | None, packed: bool) -> None:
    network = random_network(5, "half_up", kind=kind, weight_bits=4, zero_point=0)
    narrow = narrowed(network, bits)
    files = sources_of(narrow, packed)
    assert agrees(without_cast(files), narrow, pixels_for(narrow), WRAPS, "clang")
    text = files["network.c"].decode()
    assert "    int16_t a = (int16_t)" in text
    text = text.replace("int16_t a = (int16_t)", "int8_t a = (int8_t)")
    smaller = text.replace(SUM, SUM.replace("int16_t", "int8_t"))
    assert not agrees(files | {"network.c": smaller.encode()}, narrow, pixels_for(narrow))


@needs("gcc")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("relu", [True, False])
def test_strides_pools_tables_and_wide_images(rounding: str, relu: bool) -> None:
    assert is_right(odd_network(rounding, relu))


@needs("gcc")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("shift", "bias"), [(0, 2**31 - 40_000), (31, 2**30 - 40_000)])
def test_sums_at_the_edge_of_32_bits(shift: int, bias: int, rounding: str) -> None:
    network = edge_network(shift, bias, rounding)
    pixels = pixels_for(network, 40)
    pixels[2:4] = np.array([0, 255, 255, 0], np.uint8).reshape(2, 2, 1, 1)
    assert is_right(network, pixels)


@needs("gcc")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", ["uniform", "power_of_two", "power_of_two_nonzero"])
def test_weights_of_few_bits_are_packed(kind: str, bits: int, rounding: str) -> None:
    # Of 6×6 images the longest row has 72 weights, which do not fill their words of 2 bits.
    network = random_network(5, rounding, weight_bits=bits, kind=kind, zero_point=0, size=6)
    assert is_right(network, packed=True)
    text = sources_of(network, packed=True)["network.c"].decode()
    assert text.count("static const uint32_t weight_") == 4
    first = replace(network.layers[0], weight_format=WeightFormat(8))  # beside one of 8 bits
    mixed = replace(network, layers=(first, *network.layers[1:]))
    assert is_right(mixed, packed=True)
    text = sources_of(mixed, packed=True)["network.c"].decode()
    assert text.count("static const uint32_t weight_") == 3
    assert text.count("static const int8_t weight_") == 1


@needs("gcc")
def test_packings_of_two_widths_stand_side_by_side() -> None:
    wide = random_network(5, weight_bits=4, kind="power_of_two")
    narrow = random_network(5, weight_bits=2).layers
    network = replace(wide, layers=(*wide.layers[:2], *narrow[2:5], wide.layers[5]))
    assert is_right(network, packed=True)
    text = sources_of(network, packed=True)["network.c"].decode()
    assert "sign_exponent_4[16]" in text
    assert "twos_complement_2[4]" in text


def test_packing_changes_nothing_where_weights_have_eight_bits() -> None:
    assert sources_of(odd_network(), packed=True) == sources_of(odd_network())


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_strict_compilers_take_it_and_find_no_float(
    compiler: str, rounding: str, tmp_path: Path
) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler}: not installed")
    for network in (odd_network(rounding), small_network(rounding)):
        folder, pixels = write(tmp_path, sources_of(network)), pixels_for(network)
        program = compile_c(folder, tmp_path / "run", compiler)
        expected = network.logits(torch.from_numpy(pixels)).numpy()
        assert np.array_equal(run_c(program, pixels), expected)
        files = [folder / "network.c", "-o", tmp_path / "network.o"]
        subprocess.run([compiler, *STRICT, *NO_FLOAT, *files], check=True)


MUTATIONS = {
    "a shift off by one": ("l->shift[o * l->shift_step]", "l->shift[o * l->shift_step] + 1"),
    "input zero point 127": ("128, /* input_zero_point */", "127,"),
    "output zero point 127": ("128, /* output_zero_point */", "127,"),
    "padding 0": ("        return 0;\n", "        return -l->input_zero_point;\n"),
    "ReLU lost": ("1, /* relu */", "0,"),
    "codes above 254 lost": ("255, /* output_max */", "254,"),
}
PACKED_MUTATIONS = {
    "an exponent off by one": ("0, 1, 2, 4, 8,", "0, 2, 4, 8, 16,"),
    "a sign lost": ("0, -1, -2, -4,", "0, 1, 2, 4,"),
    "0 taken for 1": ("0, 1, 2, 4,", "1, 1, 2, 4,"),
    "a row without its filling": ("4, 4, /* code_bits, row_words */", "4, 3,"),
    "the highest code first": ("word[w] >> bit", "word[w] >> (28 - bit)"),
}


@needs("gcc")
@pytest.mark.parametrize(
    ("network", "mutations", "packed"),
    [
        (random_network(3, "floor"), MUTATIONS, False),
        (random_network(3, "half_even"), MUTATIONS, False),
        (random_network(5, weight_bits=4, kind="power_of_two"), PACKED_MUTATIONS, True),
    ],
    ids=["floor", "half_even", "packed"],
)
def test_the_comparison_sees_every_mutation(
    network: IntegerNetwork, mutations: dict[str, tuple[str, str]], packed: bool
) -> None:
    files, pixels = sources_of(network, packed), pixels_for(network)
    assert agrees(files, network, pixels)
    for name, (old, new) in mutations.items():
        assert old.encode() in files["network.c"], name
        mutated = files | {"network.c": files["network.c"].replace(old.encode(), new.encode(), 1)}
        assert not agrees(mutated, network, pixels), name


@needs("gcc")
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_the_comparison_sees_another_rounding_and_a_bias_that_was_not_folded(
    rounding: str,
) -> None:
    network = random_network(3, rounding)
    for other in set(ROUNDINGS) - {rounding}:
        mutated = sources_of(replace(network, rounding=other))
        assert not agrees(mutated, network, pixels_for(network)), other


@needs("gcc")
def test_of_equal_logits_the_first_class_wins_and_a_cut_off_image_is_an_error(
    tmp_path: Path,
) -> None:
    names = ('ä"??/\\', "b", "c", "d", "e")
    write(tmp_path, sources_of(replace(random_network(1), classes=names)))
    program = compile_c(tmp_path, tmp_path / "run", "gcc", ("-O1",))
    done = subprocess.run([program], input=b"\0" * 100, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"the last image is cut off: 192 bytes are needed" in done.stderr
    (tmp_path / "main.c").write_text(
        """#include <stdio.h>
    #include "network.h"
    int main(void)
    {
        const int32_t logits[RANDOM_LOGITS] = {-9, -3, -7, -3, -4};
        printf("%d %s\\n", (int)random_class(logits), random_class_names[0]);
        return 0;
    }
    """,
        "utf-8",
    )
    program = compile_c(tmp_path, tmp_path / "run", "gcc", ("-O1",))
    printed = subprocess.run([program], capture_output=True, check=True).stdout.decode()
    assert printed == f"1 {names[0]}\n"


def test_the_stated_memory_is_what_the_largest_layer_needs() -> None:
    network = random_network(1)  # 3x8x8 pixels of the caller; 8x8x8 pools to 8x4x4 …
    memory = sizes(network, steps_of(network))
    assert memory["arena"] == 512 + 128
    assert memory["patch"] == 2 * 96  # the linear layer's 6x4x4 inputs
    weights = 8 * 27 + 6 * 72 + 12 * 96 + 5 * 12
    assert memory["constants"] == weights + 4 * (8 + 6 + 12 + 5) + 3
    assert b"RANDOM_ARENA_BYTES = 640," in sources_of(network)["network.h"]


@needs("gcc", "size")
def test_the_program_holds_no_more_memory_than_it_states(tmp_path: Path) -> None:
    network, target = odd_network(), tmp_path / "network.o"
    source = write(tmp_path, sources_of(network)) / "network.c"
    subprocess.run(["gcc", "-std=c99", "-O2", "-c", source, "-o", target], check=True)
    listed = subprocess.run(["size", "-A", target], capture_output=True, check=True).stdout.decode()
    bss = next(int(line.split()[1]) for line in listed.splitlines() if line.startswith(".bss"))
    memory = sizes(network, steps_of(network))
    assert 0 <= bss - memory["arena"] - memory["patch"] < 64


def test_the_text_has_no_float_and_no_heap() -> None:
    text = sources_of(odd_network())["network.c"].decode()
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search("float|double|malloc", text)


def test_a_network_that_only_onnx_can_express_is_refused() -> None:
    network = random_network(1)
    layers = list(network.layers)
    layers[2] = replace(layers[2], output=None)
    with pytest.raises(UnsupportedError, match="layer 4 would take int32 accumulators"):
        steps_of(replace(network, layers=tuple(layers)))
    with pytest.raises(ValueError, match="layer 0: kind = 'softmax': unknown"):
        steps_of(replace(network, layers=(Layer("softmax"),)))
