"""What `params.yaml` may say, and the one line with which everything else is refused."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import dvc.api
import pytest
import yaml
from clone import PARAMS
from dvc.repo import Repo
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from powtwo.core.params import Number, ParamsError, parse_yaml, select
from powtwo.sidecar import schema as params

TEXT = PARAMS.read_text(encoding="utf-8")


def changed(key: str, value: Any = None) -> Any:
    """Return the committed parameters with one key set, or left out where value is None."""
    values = copy.deepcopy(yaml.safe_load(TEXT))
    section = values
    *path, last = key.split(".")
    for part in path:
        section = section[part]
    if value is None:
        del section[last]
    else:
        section[last] = value
    return values


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epoch", 3, "train.epoch = 3: unknown key; did you mean 'epochs'"),
        ("zzz", 3, "zzz = 3: unknown key; remove it"),
        ("train", None, "train: missing; add it"),
        ("schemes.lab.weights.observer", None, "schemes.lab.weights.observer: missing; add it"),
        ("train.epochs", "12", "train.epochs = '12': Input should be a valid integer"),
        ("train.epochs", True, "train.epochs = True: Input should be a valid integer"),
        ("train.learning_rate", 0, "train.learning_rate = 0: Input should be greater than 0"),
        ("train.learning_rate", "fast", "train.learning_rate = 'fast': Input should be a valid"),
        ("train.momentum", float("nan"), "train.momentum = nan: Input should be a finite number"),
        ("train.momentum", 0, "train.nesterov = True: needs a momentum above 0"),
        ("train.final_learning_rate", 1.0, "train.final_learning_rate = 1.0: must be below"),
        ("model.layout", [32] + ["M"] * 6, "model.layout = .*has 6 poolings; a 32x32 image"),
        ("data.size", 12, "model.layout = .*has 4 poolings; a 12x12 image can be halved 3 times"),
        ("data.size", [64, 15], "model.layout = .*has 4 poolings; a 64x15 image can be halved 3"),
        ("data.size", 7, r"data.size = 7: must be pixels a side, or \[height, width\], 8 to 1024"),
        ("data.size", [32, 1025], r"data.size = \[32, 1025\]: must be pixels a side, or"),
        ("data.size", [32], r"data.size = \[32\]: must be pixels a side, or"),
        ("data.size", "32", "data.size = '32': must be pixels a side, or"),
        ("data.size", True, "data.size = True: must be pixels a side, or"),
        ("data.channels", 2, "data.channels = 2: Input should be 3 or 1"),
        ("data.resize", "fill", "data.resize = 'fill': Input should be 'crop' or 'pad'"),
        ("data.mean", [0.5] * 3, r"data.mean = .*: must be null, for dyadic has none; or set norm"),
        ("data.std", [0.5] * 3, r"data.std = .*: must be null, for dyadic has none; or set norm"),
        ("train.augment.crop", 17, "train.augment.crop = 17: must be at most 16 for images of 32x"),
        ("train.augment.cutout", 33, "train.augment.cutout = 33: must be at most 32 for images"),
        ("model.layout", [], "model.layout = .*: must list numbers of channels"),
        ("model.layout", ["M", 32], "model.layout = .*: must list numbers of channels"),
        ("model.layout", [32, "P"], "model.layout = .*: must list numbers of channels"),
        ("model.hidden", [0], "model.hidden.0 = 0: Input should be greater than or equal to 1"),
        ("schemes.lab.weights.bits", 9, "schemes.lab.weights.bits = 9: .* less than or equal to 8"),
        ("schemes.lab.activations.bits", 1, "activations.bits = 1: .* greater than or equal to 2"),
        ("schemes.lab.rounding", "up", "schemes.lab.rounding = 'up': Input should be 'floor'"),
        ("schemes.lab.weights.clamp", [0, -8], r"clamp = \[0, -8\]: must be \[lowest exponent"),
        ("schemes.lab.weights.kind", "power_of_two", "weights.kind = .*: power_of_two has 8"),
        ("schemes.lab.activations.zero_point", 64, "zero_point = 64: must be 0 or the middle"),
        ("schemes.lab.activations.zero_points", 0, "did you mean 'zero_point'"),
        ("schemes.lab.layers", {"2nd": {}}, "layers.2nd = .*: String should match pattern"),
        ("schemes.lab.layers", {0: {}}, 'schemes.lab.layers.0 = 0: must be text; .*: "0"'),
        ("schemes.shift.layers", {"first": {"weights": 8}},
         "schemes.shift.layers = .*: power_of_two has 8 bits: .*; give layer first other bits"),
        ("schemes.shift.layers", {"first": {"kind": "power_of_two_nonzero", "weights": 2}},
         "schemes.shift.layers = .*: power_of_two_nonzero has 2 bits: 3 or 4, of which 3 have"),
        ("schemes.lab.accumulator", {"bits": 7}, "accumulator.bits = 7: .* greater than or equal"),
        ("schemes.lab.accumulator", {"bits": 33}, "accumulator.bits = 33: .* less than or equal"),
        ("schemes.lab.accumulator", {"tile": 1}, "did you mean 'tiles'"),
        ("schemes.lab.layers", {"first": {"accumulator": 4}}, "first.accumulator = 4: .* greater"),
        ("schemes", {}, "schemes = {}: Dictionary should have at least 1 item"),
        ("data.sha256", "abc", "data.sha256 = 'abc': String should match pattern"),
        ("data.name", "mnist", "data.name = 'mnist': Input should be 'mnist5k'"),
        ("export.schemes", ["x"], "export = .*: schemes: 'x' is no scheme; add it or leave it out"),
        ("export.schemes", ["lab", "lab"], "schemes: 'lab' is there twice; leave one out"),
        ("export.formats", ["tflite"], "export.formats.0 = 'tflite': Input should be 'c99'"),
        ("seed", -1, "seed = -1: Input should be greater than or equal to 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(key: str, value: Any, message: str) -> None:
    with pytest.raises(ParamsError, match=rf"\Aparams.yaml: [^\n]*{message}[^\n]*\Z"):
        params.check(changed(key, value))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (
            [0.5],
            [0.5],
            r"data.mean = \[0.5\]: must be 3 numbers for images of as many channels, or",
        ),
        ([0.5] * 3, [0.5] * 4, "data.std = .*: must be 3 numbers for images of as many channels"),
        ([0.5] * 3, None, "data.std = None: must be null where mean is, and is .*; give both"),
        (None, [0.5] * 3, "data.std = .*: must be null where mean is, and is None; give both"),
        ([0.5, 0.5, 1.5], [1] * 3, "data.mean.2 = 1.5: Input should be less than or equal to 1"),
        (
            [0, 0, 0],
            [0.5, 0.5, 0],
            "data.std.2 = 0: Input should be greater than or equal to 0.0001",
        ),
        ([124, 116, 104], None, "data.mean.0 = 124: Input should be less than or equal to 1"),
    ],
)
def test_numbers_of_a_normalization_are_for_each_channel(mean: Any, std: Any, message: str) -> None:
    values = changed("data.normalize", "standard")
    values["data"] |= {"mean": mean, "std": std}
    with pytest.raises(ParamsError, match=rf"\Aparams.yaml: [^\n]*{message}[^\n]*\Z"):
        params.check(values)


def test_a_file_from_before_there_were_sizes_has_the_only_ones() -> None:
    values = changed("seed", 0)
    for key in ("size", "channels", "resize", "mean", "std"):
        del values["data"][key]
    assert params.check(values) == params.check(changed("seed", 0))


def test_a_scheme_name_that_is_no_file_name_is_refused() -> None:
    scheme = yaml.safe_load(TEXT)["schemes"]["lab"]
    with pytest.raises(ParamsError, match=r"schemes.\.\./x = '../x': String should match"):
        params.check(changed("schemes", {"lab": scheme, "../x": scheme}))


def test_what_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("just words")
    with pytest.raises(ParamsError, match="file = 'just words'"):
        params.load(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text("a: [1")
    with pytest.raises(ParamsError, match=r"p.yaml: not YAML: .*"):
        params.load(tmp_path / "p.yaml")


def test_the_whole_file_is_what_dvc_reads(tmp_path: Path) -> None:
    """PyYAML takes 1e-3 for a string, DVC's YAML 1.2 for a number; the lock must not lie."""
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r" learning_rate: \S+", " learning_rate: 1e-3", TEXT, count=1))
    ours = params.load(path)
    assert ours.train.learning_rate == 0.001
    Repo.init(str(tmp_path), no_scm=True).close()
    theirs = dvc.api.params_show("params.yaml", repo=str(tmp_path), deps=False)
    assert ours.model_dump(exclude_unset=True) == theirs


def test_select_follows_a_dotted_key() -> None:
    assert select({"a": {"b": {"c": 1}}}, "a.b") == {"c": 1}
    with pytest.raises(ParamsError, match="a.x: no such key"):
        select({"a": {}}, "a.x")


@pytest.mark.parametrize("text", ["010", "1:30", "0o10", "yes", "No", "on", "1_000", "2026-11-26"])
def test_what_two_versions_of_yaml_read_differently_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match=rf"train.epochs = {text}: versions of YAML read it"):
        parse_yaml(f"train: {{epochs: {text}}}")
    assert parse_yaml(f"train: {{epochs: '{text}'}}") == {"train": {"epochs": text}}


@pytest.mark.parametrize("key", ["1e3", "010", "12", "0o7", "1.5", "yes", "null"])
def test_a_key_that_may_be_no_text_is_refused(key: str) -> None:
    with pytest.raises(ParamsError, match=f"schemes.{key}: a key must be text"):
        parse_yaml(f"schemes: {{{key}: 1}}")


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ParamsError, match="train.epochs: is there twice; leave one"):
        parse_yaml("train:\n  epochs: 1\n  epochs: 2\n")


@given(st.text("0123789xob.:_eE+-yntrueNO~", min_size=1, max_size=6))
def test_what_is_accepted_is_what_dvc_reads(text: str) -> None:
    try:
        ours = parse_yaml(f"a: {text}\n")["a"]
    except ParamsError:
        return
    theirs = YAML(typ="safe", pure=True).load(f"a: {text}\n")["a"]
    if isinstance(ours, str) and isinstance(theirs, float):  # 1e-3, which `Number` reads
        ours = TypeAdapter(Number).validate_python(ours)
    assert (ours, type(ours)) == (theirs, type(theirs))
