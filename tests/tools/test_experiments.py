"""What an experiment changes, which points a sweep has, and how results are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from closure import ROOT

from powtwo.core.params import ParamsError
from powtwo.tools.experiments import leaderboard, one, overrides, sweep
from powtwo.tools.experiments.outcomes import Outcome

TEXT = (ROOT / "tests/data/params.yaml").read_text(encoding="utf-8")


def laid(*words: str) -> dict[str, Any]:
    text, _ = overrides.lay(overrides.read(words), TEXT, "try")
    return yaml.safe_load(text)


# Overrides


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("train.learning_rate=1e-3", 0.001),
        ("train.weight_decay=0", 0),
        ("model.hidden=[64, 32]", [64, 32]),
        ("model.layout=[8, M, 16, M]", [8, "M", 16, "M"]),
        ("model.hidden=[]", []),
        ("data.name=images", "images"),
        ("data.path=/a b/c, d.tar", "/a b/c, d.tar"),
        ("data.path=null", None),
        ("energy.all_widths=null", None),
        ("export.strict=true", True),
        ("train.nesterov=false", False),
        ("schemes.minmax-round.weights.per=channel", "channel"),
        ("schemes.minmax-round.weights.clamp=[-4, 0]", [-4, 0]),
        ("schemes.minmax-round.bias_correction=true", True),
        ("schemes.minmax-round.weights={observer: mse, bits: 2}", {"observer": "mse", "bits": 2}),
    ],
)
def test_values_are_yaml_and_all_else_stays(word: str, value: Any) -> None:
    values, expected = laid(word), yaml.safe_load(TEXT)
    section = expected
    *path, name = word.partition("=")[0].split(".")
    for part in path:
        section = section[part]
    section[name] = value
    assert values == expected
    text, _ = overrides.lay(overrides.read([word]), TEXT, "try")
    assert len(text.splitlines()) - len(TEXT.splitlines()) in {0, 1}
    assert text.count("#") == TEXT.count("#")


def test_a_whole_scheme_can_be_added() -> None:
    values = laid(
        "schemes.w8a8={weights: {observer: mse, bits: 8}, activations: {observer: mse, bits: 7}, "
        "rounding: half_up, bias: nearest, logits: int32}"
    )
    assert values["schemes"]["w8a8"]["activations"] == {"observer": "mse", "bits": 7}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train.epoch=3"], "try: train.epoch = 3: unknown key; did you mean 'epochs'?"),
        (["train.epochs=-1"], "try: train.epochs = -1: Input should be greater than or equal to 0"),
        (["seed.more=1"], "try: seed.more: seed is a value without keys; correct it"),
        (["seed"], "-s seed: must be key=value, such as -s train.epochs=8"),
        (["train..epochs=1"], "-s train..epochs=1: must be key=value, such as -s train.epochs=8"),
        (["seed=1", "seed=2"], "-s seed=2: seed is there twice; leave one"),
        (
            ["schemes.minmax-round={}", "schemes.minmax-round.bias=floor"],
            "try: schemes.minmax-round.bias: schemes.minmax-round sets it as well; leave one",
        ),
        (
            ["seed=010"],
            "-s seed = 010: versions of YAML read it differently; write a plain decimal number, "
            "true or false, or put text in quotes",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ParamsError) as error:
        laid(*words)
    assert str(error.value) == line


def test_keys_are_shown_as_short_as_they_differ() -> None:
    keys = ["schemes.a.weights.bits", "schemes.a.activations.bits", "train.epochs", "seed"]
    assert list(overrides.short_names(keys).values()) == [
        "weights.bits", "activations.bits", "train.epochs", "seed",
    ]  # fmt: skip
    two = ["schemes.a.weights.bits", "schemes.b.weights.bits"]
    assert list(overrides.short_names(two).values()) == ["a.weights.bits", "b.weights.bits"]


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a..b", "a.lock", "a.", "x" * 101, "é"])
def test_names_that_git_would_refuse_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of an experiment"):
        one.check_name(Path(), name)


# Points


def points(text: str) -> list[dict[str, Any]]:
    return sweep.validate(sweep.Points, yaml.safe_load(text), "points.yaml").overrides()


def test_of_a_grid_the_last_key_changes_fastest() -> None:
    assert points("grid: {seed: [0, 1], train.epochs: [2, 3]}") == [
        {"seed": 0, "train.epochs": 2}, {"seed": 0, "train.epochs": 3},
        {"seed": 1, "train.epochs": 2}, {"seed": 1, "train.epochs": 3},
    ]  # fmt: skip
    assert points("points: [{seed: 3}, {train.epochs: 2}]") == [{"seed": 3}, {"train.epochs": 2}]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{}", "points.yaml: file = {}: must have either grid or points"),
        (
            "{grid: {seed: [1]}, more: 1}",
            "points.yaml: more = 1: unknown key; did you mean 'model'?",
        ),
        ("grid: {seed: 1}", "points.yaml: grid.seed = 1: Input should be a valid list"),
        (
            "grid: {seed: []}",
            "points.yaml: grid.seed = []: List should have at least 1 item after validation, not 0",
        ),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(text: str, line: str) -> None:
    with pytest.raises(ParamsError) as error:
        points(text)
    assert str(error.value) == line


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "-1/2", "a/b", "1/2/3"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"--part {text}: must be K/N with K from 1 to N"):
        sweep.part(text)


def test_parts_share_the_points_among_them() -> None:
    parts = [sweep.part(f"{k}/3") for k in (1, 2, 3)]
    shared = [list(range(8))[first - 1 :: step] for first, step in parts]
    assert shared == [[0, 3, 6], [1, 4, 7], [2, 5]]


# The leaderboard


def outcome(
    validation: dict[str, float], ratio: dict[str, float] | None = None, **changes: Any
) -> Outcome:
    params = {"seed": 0, "schemes": {name: {"bits": 8} for name in validation}}
    for key, value in changes.items():
        section = params
        *path, name = key.split("__")
        for part in path:
            section = section[part]
        section[name] = value
    accuracy = {name: 1 - value for name, value in validation.items()}  # misleads who looks at it
    ratio = ratio or dict.fromkeys(validation, 2.0)
    return Outcome(params, accuracy, {"validation_accuracy": validation, "energy_ratio": ratio})


def test_a_change_of_schemes_shows_the_best_of_these_and_another_the_best_of_all() -> None:
    measured = {
        "HEAD": outcome({"a": 0.9, "b": 0.8}),
        "scheme": outcome({"a": 0.9, "b": 0.85}, schemes__b={"bits": 4}),
        "seed": outcome({"a": 0.91, "b": 0.99}, {"a": 1, "b": 1}, seed=1),
    }
    rows = leaderboard.ordered(leaderboard.rows(measured), "validation_accuracy")
    assert [(row["experiment"], row["scheme"], row["validation_accuracy"]) for row in rows] == [
        ("seed", "b", 0.99), ("scheme", "b", 0.85), ("HEAD", "b", 0.8),
    ]  # fmt: skip
    assert [row["schemes.b.bits"] for row in rows] == [8, 4, 8]
    assert [row["seed"] for row in rows] == [1, 0, 0]
    of_a = leaderboard.ordered(leaderboard.rows(measured, "a"), "seed")
    assert [(row["experiment"], row["scheme"]) for row in of_a] == [
        ("HEAD", "a"), ("scheme", "a"), ("seed", "a"),
    ]  # fmt: skip


def test_of_equal_validation_accuracies_the_one_of_less_energy_is_shown() -> None:
    assert outcome({"a": 0.9, "b": 0.9}, {"a": 2, "b": 3}).best(()).scheme == "b"


def test_text_fits_the_terminal_and_says_what_it_leaves_out() -> None:
    measured = {"HEAD": outcome({"a": 0.9})}
    keys = [f"a_long_key_of_parameters_{index}" for index in range(9)]
    measured |= {
        f"try-{key}": outcome({"a": 0.9}, **{key: index}) for index, key in enumerate(keys)
    }
    lines = leaderboard.as_text(leaderboard.rows(measured))
    assert max(map(len, lines)) <= 120
    assert lines[-1].startswith("More columns with --csv or --markdown: ")
    assert len(leaderboard.as_markdown(leaderboard.rows(measured))[0].split("|")) == 6 + 9 + 2


@pytest.mark.parametrize(
    ("key", "order"),
    [("accuracy", [0.2, 0.1]), ("size_mb", [0.1, 0.2]), ("seed", [0.1, 0.2])],
)
def test_sort_takes_any_column(key: str, order: list[float]) -> None:
    measured = {"HEAD": outcome({"a": 0.9}), "more": outcome({"a": 0.8}, seed=1)}
    rows = leaderboard.ordered(leaderboard.rows(measured), key)
    assert [round(row["accuracy"], 3) for row in rows] == order
    with pytest.raises(ValueError, match="--sort nothing: no such column; use one of experiment,"):
        leaderboard.ordered(rows, "nothing")
