"""Which files of the user's a network is read of, and that a change of one is seen."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from powtwo.core import files
from powtwo.network import source
from powtwo.network.params import Model
from powtwo.network.reading.read import read

NETS = '''"""Some networks."""
import os, yaml
from pathlib import Path
from blocks import block
from deeper.more import thing

def build():
    import late
    return open(Path(__file__).parent / "weights.pt"), "mine/other.bin", "nowhere", "/etc/hostname"
'''
MODEL = Model(python="mine/nets.py", function="build")
FILES = ["blocks.py", "deeper/__init__.py", "deeper/more.py", "late.py", "nets.py", "other.bin",
         "weights.pt"]  # fmt: skip


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("" if name != "nets.py" else NETS, encoding="utf-8")
    (tmp_path / "mine/unread.py").touch()
    monkeypatch.chdir(tmp_path)


def test_a_file_of_python_what_it_imports_and_what_it_names() -> None:
    assert list(source.digests(MODEL)) == [f"mine/{name}" for name in FILES]


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_any_is_seen(name: str) -> None:
    source.write(MODEL)
    assert source.checked(MODEL) == source.recorded()
    with Path("mine", name).open("a", encoding="utf-8") as file:
        file.write("\n# more\n")
    message = f"models/source.json: mine/{name} has changed since; run `inv repro`"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        source.checked(MODEL)


LAYOUTS = {
    "a folder that is no package": ("from parts.res import head", "parts/res.py"),
    "a relative import": ("from deeper import close", "deeper/more.py"),
    "from the folder of params.yaml": ("import mine.unread", "unread.py"),
    "a submodule": ("import deeper.more as m", "deeper/__init__.py"),
    "its own folder first": ("import both", "both.py"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_imports_are_followed_as_python_follows_them(name: str) -> None:
    line, file = LAYOUTS[name]
    for each in ("mine/parts/res.py", "mine/both.py", "both.py"):
        Path(each).parent.mkdir(exist_ok=True)
        Path(each).write_text("head = 1\n", encoding="utf-8")
    Path("mine/deeper/close.py").write_text("from . import more\n", encoding="utf-8")
    Path("mine/nets.py").write_text(f"{line}\n{BUILD.format(opens='pass')}", encoding="utf-8")
    found = source.digests(MODEL)
    assert f"mine/{file}" in found
    assert "both.py" not in found
    read(MODEL, (3, 2, 2), None)  # which refuses files that are opened and not among these


def test_text_that_no_name_can_have_is_no_path() -> None:
    Path("mine/nets.py").write_text(f"'{'ネットワーク' * 20}'\n", encoding="utf-8")
    assert list(source.digests(MODEL)) == ["mine/nets.py"]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path.parent / "elsewhere.py"
    outside.write_text("", encoding="utf-8")
    Path("linked.py").symlink_to(outside)
    message = "model.python = linked.py: is a link out of the folder of params.yaml; put a copy"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        source.digests(Model(python="linked.py", function="build"))


def test_a_new_import_is_seen() -> None:
    source.write(MODEL)
    Path("mine/late.py").write_text("import unread\n", encoding="utf-8")
    assert "mine/unread.py" in source.digests(MODEL)


BUILD = """
from pathlib import Path
from torch import nn

def build():
    {opens}
    return nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(4, 2))
"""


@pytest.mark.parametrize(
    ("opens", "name"),
    [
        ("Path('mine/%snamed.bin' % str('un')).read_bytes()", "mine/unnamed.bin"),
        ("[each.read_bytes() for each in Path('mine').glob('unn*.bin')]", "mine/unnamed.bin"),
        ("__import__('un' + 'read')", "mine/unread.py"),
        ("(Path('mine') / 'deep' / 'unnamed.bin').read_bytes()", "mine/deep/unnamed.bin"),
    ],
)
def test_a_file_that_is_opened_must_be_named(opens: str, name: str) -> None:
    Path("mine/unnamed.bin").touch()
    Path("mine/deep").mkdir()
    Path("mine/deep/unnamed.bin").touch()
    Path("mine/nets.py").write_text(BUILD.format(opens=opens), encoding="utf-8")
    message = f"mine/nets.py: opens {name}, which its code does not name, so that"
    for _ in range(2):  # the second time, it may come from a cache
        with pytest.raises(ValueError, match=f"^{re.escape(message)}.* write {name!r} into it"):
            read(MODEL, (3, 2, 2), None)
        sys.modules.pop("unread", None)


def test_what_stages_write_and_what_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path.parent / "outside.bin").touch()
    Path("mine/link.bin").symlink_to(tmp_path.parent / "outside.bin")
    Path("models").mkdir()
    Path("models/float.bin").touch()
    lines = {
        "Path('models/float.bin').read_bytes()": "models/float.bin, which stages write; put a copy",
        "Path('../outside.bin').read_bytes()": "../outside.bin, which lies elsewhere; put a copy",
        "Path('mine/link.bin').read_bytes()": "mine/link.bin, which lies elsewhere; put a copy",
    }
    for line, message in lines.items():
        Path("mine/nets.py").write_text(BUILD.format(opens=line), encoding="utf-8")
        assert list(source.digests(MODEL)) == ["mine/nets.py"]
        with pytest.raises(ValueError, match=f"^mine/nets.py: opens {re.escape(message)}"):
            read(MODEL, (3, 2, 2), None)


def test_a_file_is_no_part_of_a_package() -> None:
    Path("mine/nets.py").write_text("\nfrom .blocks import block\n", encoding="utf-8")
    message = "mine/nets.py: line 2: from .blocks import block: the file is no part of a package;"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        source.digests(MODEL)


def test_what_is_named_elsewhere_or_written_may_be_opened(tmp_path: Path) -> None:
    (tmp_path.parent / "outside.bin").touch()
    opens = (
        "Path('mine/other.bin').read_bytes(); Path('mine/n%sw' % str('e')).write_text('new'); "
        "Path(__file__).parents[2].joinpath('outside.bin').read_bytes()"
    )
    Path("mine/nets.py").write_text(BUILD.format(opens=opens), encoding="utf-8")
    read(MODEL, (3, 2, 2), None)
    assert "mine/other.bin" in source.digests(MODEL)


def test_networks_that_are_nobodys_have_no_files() -> None:
    models = [Model(name="resnet8"), Model(layout=[8, "M"], hidden=[])]
    for model in models:
        source.write(model)
        assert source.SOURCE.read_bytes() == b'{\n  "files": {}\n}\n'
        source.SOURCE.unlink()
        assert source.checked(model) == {}, "no file is needed"


def test_missing_and_broken_files_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^model.python = mine/absent.py: no such file; correct"):
        source.digests(Model(python="mine/absent.py", function="f"))
    Path("mine/nets.py").write_text("def (", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^mine/nets.py: no Python at line 1 \(invalid syntax"):
        source.digests(MODEL)
    with pytest.raises(ValueError, match="models/source.json: has no digests; run `inv repro`"):
        source.checked(Model(python="mine/blocks.py", function="f"))


def test_onnx_file_and_its_external_data() -> None:
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    shapes = [helper.make_tensor_value_info(n, 1, [1, 3, 2, 2]) for n in "xy"]
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", shapes[:1], shapes[1:], [weight]))
    onnx.save(
        model, "mine/net.onnx", save_as_external_data=True, size_threshold=0, location="w.bin"
    )
    named = Model(onnx="mine/net.onnx")
    assert list(source.digests(named)) == ["mine/net.onnx", "mine/w.bin"]
    source.write(named)
    Path("mine/w.bin").write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"mine/w.bin has changed since"):
        source.checked(named)
    Path("mine/w.bin").unlink()
    with pytest.raises(
        ValueError, match=r"^mine/net.onnx: its weights mine/w.bin are missing; put"
    ):
        source.digests(named)
    Path("mine/net.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"^mine/net.onnx: is no ONNX file"):
        source.digests(named)
    assert files.read_json(source.SOURCE)["files"].keys() == {"mine/net.onnx", "mine/w.bin"}
