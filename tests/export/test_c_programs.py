"""The C in programs: beside another network, in C++, and on other processors."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_cases import needs, odd_network, pixels_for
from networks import random_network

from powtwo.export import manifest
from powtwo.export.bundle import write_bundle
from powtwo.export.c99.names import KEYWORDS, prefix_for
from powtwo.integer.network import IntegerNetwork
from powtwo.tools.exports.cross import TARGETS, Target, emulate, measure
from powtwo.tools.exports.programs import compile_c, run_c

CXX = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")
CASES = {  # each with its option `packed`
    "floor": (random_network(3, "floor"), False),
    "table": (odd_network("half_even"), False),
    "shift": (random_network(5, "half_up", weight_bits=4, kind="power_of_two", zero_point=0), True),
    "ternary": (random_network(6, "half_even", weight_bits=2, per_channel=True), True),
}
TWO_NETWORKS = """
#include <stdio.h>

#include "one/network.h"
#include "two/network.h"

int main(void)
{
    static uint8_t pixels[ONE_PIXELS];
    static int32_t one[ONE_LOGITS], two[TWO_LOGITS];
    while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {
        one_run(pixels, one);
        two_run(pixels, two);
        for (int i = 0; i < ONE_LOGITS; i++) {
            printf("%ld %ld ", (long)one[i], (long)two[i]);
        }
        printf("%s %s\\n", one_class_names[one_class(one)], two_class_names[two_class(two)]);
    }
    return 0;
}
"""


class Images:
    """Test images for `write_bundle`."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.x_test = pixels_for(network)


def export(folder: Path, name: str, prefix: str | None = None, scheme: str = "random") -> dict:
    network, packed = CASES[name]
    network = replace(network, scheme=scheme)
    write_bundle(folder, network, Images(network), 6, ["c99"], prefix=prefix, packed=packed)
    return manifest.load(folder)


def logits(name: str, pixels: np.ndarray) -> np.ndarray:
    return CASES[name][0].logits(torch.from_numpy(pixels)).numpy()


def run(command: list[str], stdin: bytes = b"") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@needs("gcc", "g++")
@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize(("one", "two"), [("floor", "shift"), ("ternary", "floor")])
def test_two_networks_link_into_one_program(
    one: str, two: str, language: str, tmp_path: Path
) -> None:
    for name, scheme in ((one, "one"), (two, "two")):
        export(tmp_path / scheme, name, scheme=scheme)
        source, built = tmp_path / scheme / "network.c", tmp_path / f"{scheme}.o"
        run(["gcc", "-std=c99", *SANITIZED, "-c", str(source), "-o", str(built)])
    source = tmp_path / f"main.{language}"
    source.write_text(TWO_NETWORKS, "utf-8")
    compiler = ["g++", *CXX] if language == "c++" else ["gcc", "-std=c99", "-Wall", "-Werror"]
    objects, program = [str(tmp_path / f"{name}.o") for name in ("one", "two")], tmp_path / "run"
    run([*compiler, *SANITIZED, "-x", language, str(source), "-x", "none", *objects, "-o",
         str(program)])  # fmt: skip
    pixels = pixels_for(CASES[one][0])
    lines = run([str(program)], pixels.tobytes()).splitlines()
    printed = np.array([line.split()[:-2] for line in lines]).astype(np.int64)
    assert np.array_equal(printed[:, ::2], logits(one, pixels))
    assert np.array_equal(printed[:, 1::2], logits(two, pixels))
    names = [["abcde"[logits(name, pixels)[n].argmax()] for name in (one, two)] for n in range(6)]
    assert [line.split()[-2:] for line in lines] == names


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("name", CASES)
def test_the_c_is_cpp_as_well(name: str, compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler}: not installed")
    export(tmp_path, name)
    program = tmp_path / "run"
    sources = [str(tmp_path / file) for file in ("network.c", "main.c")]
    run([compiler, *CXX, "-O1", "-x", "c++", *sources, "-o", str(program)])
    pixels = pixels_for(CASES[name][0])
    assert np.array_equal(run_c(program, pixels), logits(name, pixels))


@needs("gcc", "nm")
def test_every_external_symbol_begins_with_the_prefix(tmp_path: Path) -> None:
    export(tmp_path, "shift", "my_net2")
    built = tmp_path / "network.o"
    run(["gcc", "-std=c99", "-c", str(tmp_path / "network.c"), "-o", str(built)])
    symbols = {line.split()[-1] for line in run(["nm", "-g", str(built)]).splitlines()}
    assert symbols == {"my_net2_run", "my_net2_class", "my_net2_class_names"}
    header = (tmp_path / "network.h").read_text("utf-8")
    assert "#ifndef POWTWO_my_net2_H\n#define POWTWO_my_net2_H\n" in header
    assert set(re.findall(r"\b[A-Z0-9_]+_(?=[A-Z]+ =)", header)) <= {
        "MY_NET2_", "MY_NET2_ARENA_", "MY_NET2_PATCH_", "MY_NET2_MEMORY_", "MY_NET2_CONSTANT_",
    }  # fmt: skip
    compile_c(tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    ("scheme", "prefix"),
    [
        ("lab", "lab"),
        ("minmax-round-half-up", "minmax_round_half_up"),
        ("8bit", "net_8bit"),
        ("int", "net_int"),
        ("-", "net__"),
        ("größe x", "gr__e_x"),
    ],
)
def test_a_scheme_is_made_a_prefix(scheme: str, prefix: str) -> None:
    assert prefix_for(scheme) == prefix
    assert prefix_for(scheme, prefix) == prefix


@pytest.mark.parametrize(
    "prefix", ["", "2lab", "_lab", "my-net", "a b", "größe", "x\n", "x;y", *KEYWORDS.split()]
)
def test_what_is_no_identifier_or_a_keyword_is_refused(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--prefix = .*: must be a C identifier of letters"):
        export(tmp_path / "new", "floor", prefix)
    assert not (tmp_path / "new").exists()


def installed(target: Target) -> bool:
    return all(shutil.which(name) for name in (target.compiler[0], target.emulator))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_other_processors_give_the_golden_logits(name: str, target: str, tmp_path: Path) -> None:
    if not installed(TARGETS[target]):
        pytest.skip(f"{TARGETS[target].compiler[0]} or {TARGETS[target].emulator}: not installed")
    described, pixels = export(tmp_path, name), pixels_for(CASES[name][0])
    found = emulate(tmp_path, described, TARGETS[target], pixels)
    assert np.array_equal(found, logits(name, pixels))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m4", "rv32imc"])
def test_flash_and_ram_hold_what_the_manifest_states(target: str, tmp_path: Path) -> None:
    if not installed(TARGETS[target]):
        pytest.skip(f"{TARGETS[target].compiler[0]}: not installed")
    stated = export(tmp_path, "shift")["c99"]
    size = measure(tmp_path, TARGETS[target])
    assert 0 <= size.flash - stated["constants_bytes"] < 3000  # code, layers, class names
    assert 0 <= size.ram - stated["arena_bytes"] - stated["patch_bytes"] < 16
    assert 0 < size.stack < 512
