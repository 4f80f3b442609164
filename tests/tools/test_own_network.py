"""A network of the user's, where runs are named, copied and published: its files are part of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from closure import ROOT
from published_run import write_run

from powtwo.core.params import ParamsError
from powtwo.network import source
from powtwo.network.params import Model
from powtwo.sidecar import schema
from powtwo.tools import presets, publish, status
from powtwo.tools.experiments import overrides
from powtwo.tools.experiments.worktree import WorkTree

PARAMS = (ROOT / "tests/data/params.yaml").read_text(encoding="utf-8")
OWN = {"python": "nets.py", "function": "build"}


def with_model(**model: Any) -> schema.Params:
    return schema.check(yaml.safe_load(PARAMS) | {"model": model})


LAYOUT, HIDDEN = [8, "M"], [4]
ONE = "it must have one of: layout and hidden, name, python and function, onnx; remove what"


@pytest.mark.parametrize(
    "model",
    [
        {"layout": LAYOUT, "hidden": []}, {"name": "dscnn"}, OWN, {"onnx": "nets/a.onnx"},
        {"name": "dscnn", "layout": None},
    ],
)  # fmt: skip
def test_a_network_is_said_in_one_of_four_ways(model: dict[str, Any]) -> None:
    assert with_model(**model).model.files == [
        value for key, value in model.items() if key in ("python", "onnx")
    ]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, f"model = {{}}: has nothing; {ONE}"),
        ({"layout": LAYOUT}, f"has layout; {ONE}"),
        ({"function": "f"}, f"has function; {ONE}"),
        ({"python": "a.py"}, f"has python; {ONE}"),
        ({"layout": LAYOUT, "hidden": HIDDEN, "name": "resnet8"}, "has layout and hidden and name"),
        (OWN | {"onnx": "a"}, f"has python and function and onnx; {ONE}"),
        ({"name": "resnet9"}, "model.name = 'resnet9': Input should be 'resnet8', 'dscnn' or"),
        ({"onnx": "/a.onnx"}, "model.onnx = '/a.onnx': must be a path relative to params.yaml and"),
        ({"onnx": "../a.onnx"}, "model.onnx = '../a.onnx': must be a path relative to params.yaml"),
        ({"onnx": "a\\b.onnx"}, "must be a path relative to params.yaml and below its folder"),
        ({"onnx": "models/a.onnx"}, "lies in models/, which stages write; move it to a folder of"),
        ({"onnx": ""}, "model.onnx = '': "),
    ],
)  # fmt: skip
def test_two_ways_at_once_or_half_of_one_are_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=re.escape(message)) as error:
        with_model(**model)
    assert "\n" not in str(error.value)


def test_presets_and_overrides_replace_the_network_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    for name, text in {"mnist5k": "train: {epochs: 3}", "own": "model: {name: resnet8}"}.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    target = tmp_path / "params.yaml"
    target.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    before = yaml.safe_load(target.read_text(encoding="utf-8"))
    presets.use("own", target, folder)
    after = yaml.safe_load(target.read_text(encoding="utf-8"))
    assert after.pop("model") == {"name": "resnet8"}
    assert before.pop("model").keys() == {"layout", "hidden"}
    before["train"]["epochs"] = 3
    assert after == before
    word = "model={python: nets.py, function: build}"
    text, params = overrides.lay(overrides.read([word]), PARAMS, "try")
    assert params.model == Model(**OWN)
    assert yaml.safe_load(text)["model"] == OWN


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run of a network that is read of two files, in a repository of Git."""
    monkeypatch.setattr(status, "changes", lambda _: {})
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path)
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    (folder / "params.yaml").write_text(yaml.safe_dump(values | {"model": OWN}), encoding="utf-8")
    (folder / "nets.py").write_text("import blocks", encoding="utf-8")
    (folder / "blocks.py").write_text("1", encoding="utf-8")
    (folder / ".gitignore").write_text("/models\n/*.onnx\n", encoding="utf-8")
    source.write(Model(**OWN))
    git("init", "--quiet")
    return folder


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x", *words], check=True)


def test_a_run_whose_network_git_does_not_have_is_not_published(root: Path) -> None:
    git("add", "nets.py", "params.yaml")
    with pytest.raises(ValueError, match=r"^blocks.py: the network is read of it, and Git does no"):
        publish.publish(root, "x")
    git("add", "blocks.py")
    assert publish.publish(root, "x")["commit"] is None
    git("commit", "--quiet", "--message", "a")
    assert publish.commit(root, ["blocks.py"]) is not None
    (root / "blocks.py").write_text("2", encoding="utf-8")
    assert publish.commit(root, ["blocks.py"]) is None, "the network is of no commit"


def test_an_experiment_is_of_the_files_of_its_network(root: Path) -> None:
    git("add", "params.yaml")
    git("commit", "--quiet", "--message", "a")
    params = schema.load(root / "params.yaml")
    params = schema.check(params.model_dump() | {"data": {**params.data.model_dump(),
                                                          "name": "mnist5k"}})  # fmt: skip
    first = WorkTree.read(root).identity(params)
    assert WorkTree.read(root).identity(params) == first
    (root / "blocks.py").write_text("2", encoding="utf-8")
    assert WorkTree.read(root).identity(params) != first
    (root / ".gitignore").write_text("/blocks.py\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"^blocks.py: Git ignores it, and experiments run in a cl"
    ):
        WorkTree.read(root).identity(params)
