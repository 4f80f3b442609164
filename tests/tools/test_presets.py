"""Presets change values and nothing else, and leave no trace of what was used before."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from closure import ROOT

from powtwo.core.params import ParamsError
from powtwo.tools import presets
from powtwo.tools.published import flat

FOLDER = ROOT / "presets"
NAMES = presets.names(FOLDER)
WITH_SCHEMES = "cifar10-jpeg-tuned"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a params.yaml with the default preset."""
    return Path(shutil.copy(ROOT / "tests/data/params.yaml", tmp_path))


def keys_and_values(name: str) -> dict[str, Any]:
    return flat(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def use(name: str, target: Path) -> bytes:
    presets.use(name, target, FOLDER)
    return target.read_bytes()


# The presets that are there


@pytest.mark.parametrize("recipe", ["", "-lab", "-long"])
def test_cifar10_and_its_jpeg_sibling_have_one_recipe(recipe: str) -> None:
    original, jpeg = keys_and_values(f"cifar10{recipe}"), keys_and_values(f"cifar10-jpeg{recipe}")
    assert {key for key in original.keys() | jpeg.keys() if original.get(key) != jpeg.get(key)} <= {
        "data.name", "data.sha256", "data.path",
    }  # fmt: skip


LAB = {
    "epochs": 50, "momentum": 0.9, "nesterov": False, "decay": "all", "label_smoothing": 0.1,
    "average": 0.0, "patience": 10,
}  # fmt: skip
LAB_AUGMENT = {
    "crop": 0, "flip": "none", "rotation": 15.0, "erasing": 0.3, "erasing_scale": [0.02, 0.1],
    "cutout": 0,
}  # fmt: skip
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4, "schedule": "cosine",
       "final_learning_rate": 1e-6}  # fmt: skip
ADAM = {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 1e-4, "schedule": "plateau",
        "final_learning_rate": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "own"), [("cifar10-lab", SGD), ("cifar10-jpeg-lab", SGD), ("cifar10-lab-adam", ADAM)]
)
def test_the_labs_recipes_are_its_own_to_the_letter(
    target: Path, name: str, own: dict[str, Any]
) -> None:
    """docs/training.md says what PowTwo chose where its notes are silent."""
    train = presets.parameters(name, target, FOLDER).train.model_dump()
    augment = train["augment"] | {"erasing_scale": list(train["augment"]["erasing_scale"])}
    assert {key: train[key] for key in LAB | own} == LAB | own
    assert {key: augment[key] for key in LAB_AUGMENT} == LAB_AUGMENT


def test_the_short_recipe_differs_in_epochs_and_precision_alone(target: Path) -> None:
    short, full = (
        presets.parameters(name, target, FOLDER).train.model_dump()
        for name in ("cifar10-jpeg-short", "cifar10-jpeg")
    )
    assert short == full | {"epochs": 16, "precision": "float32"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != WITH_SCHEMES])
def test_only_the_values_of_a_preset_change(name: str, target: Path) -> None:
    before, changed = target.read_text(encoding="utf-8"), keys_and_values(name)
    after = use(name, target).decode()
    assert changed.keys() <= keys_and_values(presets.DEFAULT).keys()
    assert flat(yaml.safe_load(after)) == flat(yaml.safe_load(before)) | changed
    for old, new in zip(before.splitlines(), after.splitlines(), strict=True):
        key, comment = re.compile(r"^ *[^:]+:"), re.compile(r" *#.*$")
        assert key.findall(old) == key.findall(new)
        assert comment.findall(old) == comment.findall(new)


def test_the_tuned_schemes_are_for_the_recipe_of_their_images() -> None:
    tuned, plain = keys_and_values(WITH_SCHEMES), keys_and_values("cifar10-jpeg")
    own = {key: value for key, value in tuned.items() if not key.startswith("schemes.")}
    assert own == plain | {"evaluate.sensitivity_images": 0}  # which is of rounding alone


def test_the_schemes_of_a_preset_come_with_their_comments_and_go_unless_changed(
    target: Path,
) -> None:
    before = target.read_text(encoding="utf-8").splitlines()
    after = use(WITH_SCHEMES, target).decode().splitlines()
    brought = (FOLDER / f"{WITH_SCHEMES}.yaml").read_text("utf-8").partition("schemes:\n")[2]
    brought = brought.partition("\n\n")[0].splitlines()
    assert len(after) == len(before) + len(brought)
    first = after.index(brought[0])
    assert after[first : first + len(brought)] == brought
    text = target.read_text(encoding="utf-8")
    name = brought[0].strip().split(":")[0]
    changed = text.replace(
        "\n".join(brought[:2]), "\n".join([brought[0], brought[1].replace("mse", "kl")])
    )
    assert changed != text
    target.write_text(changed, encoding="utf-8")
    schemes = yaml.safe_load(use(presets.DEFAULT, target))["schemes"]
    assert schemes.keys() == yaml.safe_load("\n".join(before))["schemes"].keys() | {name}
    with pytest.raises(ParamsError, match=rf"schemes\.{name}: is in the parameter file as well"):
        use(WITH_SCHEMES, target)


def test_what_was_used_before_leaves_no_trace(target: Path) -> None:
    default, alone = target.read_bytes(), {}
    for name in NAMES:
        alone[name] = use(name, target)
        assert use(presets.DEFAULT, target) == default
    for name in reversed(NAMES):  # each after another one
        assert use(name, target) == alone[name]


# Using one


def test_own_schemes_stay(target: Path) -> None:
    mine = "  mine: {weights: {observer: lab, bits: 5}, activations: {observer: lab}}  # my own\n"
    text = target.read_text(encoding="utf-8").replace("schemes:\n", "schemes:\n" + mine)
    target.write_text(text, encoding="utf-8")
    assert mine in use("cifar10", target).decode()


def test_line_ends_stay(target: Path) -> None:
    windows = target.read_bytes().replace(b"\n", b"\r\n")
    expected = use("cifar10", target).replace(b"\n", b"\r\n")
    target.write_bytes(windows)
    assert use("cifar10", target) == expected


def test_nothing_is_written_where_nothing_changes(target: Path) -> None:
    before = target.stat()
    use(presets.DEFAULT, target)
    after = target.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("name", ["cifar", "../params"])
def test_an_unknown_preset_names_the_known(target: Path, name: str) -> None:
    rule = f"^preset '{name}': no such preset; use one of cifar10, "
    with pytest.raises(ParamsError, match=rule):
        presets.use(name, target, FOLDER)


def test_an_impossible_result_leaves_the_file(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    shutil.copyfile(FOLDER / "mnist5k.yaml", folder / "mnist5k.yaml")
    (folder / "bad.yaml").write_text("train: {epochs: -1}\n", encoding="utf-8")
    before = target.read_bytes()
    with pytest.raises(ParamsError, match=r"preset bad: train\.epochs = -1: "):
        presets.use("bad", target, folder)
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("overlay", "text", "expected"),
    [
        ("a: 1e-3\n", "a: 5.0e-4  # why\nb: 0x10\n", "a: 1e-3  # why\nb: 0x10\n"),
        ("a: {b: [1, 2]} # mine\n", "a:\n  b: [3]   # his\n", "a:\n  b: [1, 2]   # his\n"),
        ("a: [1]  # mine\n", "a: x   # his\n", "a: [1]   # his\n"),
        ("a:\n  b: x\n", "a: {b: 'y', c: 1}\n", "a: {b: 'x', c: 1}\n"),
        ("a: null\n", "a:  # empty\n", "a: null  # empty\n"),
        ("a: 1\n", "a:", "a: 1\n"),
        ("a: '#'\n", "# é 😀\r\na: 1 # keep\r\n", "# é 😀\r\na: '#' # keep\r\n"),
        ("a: 22\n", "a: 1  # b\n\n# c\nd: 'x'\n", "a: 22  # b\n\n# c\nd: 'x'\n"),
        ("# nothing\n", "a: 1\n", "a: 1\n"),
        ("b: 22\na: 11\n", "a: 1\nb: 2\n", "a: 11\nb: 22\n"),
    ],
)
def test_lay_changes_values_alone(overlay: str, text: str, expected: str) -> None:
    assert presets.lay(overlay, text) == expected


@pytest.mark.parametrize("number", ["5.0e-4", "1.0e-6", "1e-3", "010", "1_000", "0o17", "0.10"])
def test_numbers_stay_as_they_were_written(number: str) -> None:
    text = f"a: {number}\nb: [{number}, 2]\n"
    assert presets.lay("", text) == text
    assert presets.lay(text, "a: 1\nb: [3]\n") == text


@pytest.mark.parametrize(
    ("overlay", "text", "message"),
    [
        ("a: {c: 1}\n", "a: {b: 1}\n", r"^a\.c: not in the parameter file; add it"),
        ("a: 1\n", "a: {b: 1}\n", "^a: must be a section in both files, or a value in both"),
        ("a: {b: 1}\n", "a: 1\n", "^a: must be a section in both files, or a value in both"),
        ("a: [1\n", "a: 1\n", "^preset: not YAML"),
        ("a: 1\n", "a: 1\na: 2\n", "^parameter file: not YAML: .*duplicate key"),
        ("- 1\n", "a: 1\n", "^preset: must have keys with values"),
    ],
)
def test_lay_refuses_in_one_line(overlay: str, text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        presets.lay(overlay, text)
    assert "\n" not in str(caught.value)
