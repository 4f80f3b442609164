"""torchvision is importable with and without its operators, and declared for only without them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
FAILS_AS_TORCHVISION = """
import sys
if "torch" not in sys.modules:
    from . import half
    raise RuntimeError("operator torchvision::nms does not exist")
from . import half
"""
DECLARE = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def run(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds `folders` before the installed packages."""
    path = os.pathsep.join(map(str, (*folders, SOURCE)))
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def stand_in(folder: Path, body: str) -> Path:
    """Write a package that calls itself torchvision."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(body)
    (package / "half.py").write_text("")
    return folder


def test_the_installed_torchvision_becomes_usable_and_stays_so():
    done = run("""
import gc, torch
from powtwo.sources import vision
torchvision = vision.import_torchvision()
gc.collect()
assert vision.import_torchvision() is torchvision
torch._C._dispatch_find_schema_or_throw("torchvision::nms", "")
import torchvision.transforms.v2 as v2
flipped = v2.RandomHorizontalFlip(1.0)(torch.tensor([[[1, 2]]]))
assert flipped.tolist() == [[[2, 1]]] and torchvision.datasets.CIFAR10
""")
    assert done.returncode == 0, done.stderr


def test_the_installed_torchvision_imports_after_a_plain_import_failed():
    if run("import torchvision").returncode == 0:
        pytest.skip("this torchvision is complete: no import fails")
    done = run("""
try:
    import torchvision
except RuntimeError as error:
    assert "torchvision::nms" in str(error)
from powtwo.sources.vision import import_torchvision
assert import_torchvision().datasets.CIFAR10
""")
    assert done.returncode == 0, done.stderr


def test_nothing_is_declared_where_torchvision_has_its_operators():
    # Here they exist before the import, as on a complete install. A second DEF would fail.
    done = run(
        DECLARE
        + """
from unittest import mock
from powtwo.sources.vision import import_torchvision
with mock.patch("powtwo.sources.vision._declare") as declare:
    assert import_torchvision().datasets.CIFAR10
assert not declare.called
"""
    )
    assert done.returncode == 0, done.stderr


def test_a_torchvision_that_imports_is_left_alone(tmp_path):
    code = """
import sys
from powtwo.sources.vision import import_torchvision
assert import_torchvision().complete
assert "torch" not in sys.modules, "a declaration would have imported torch"
"""
    done = run(code, stand_in(tmp_path, "complete = True"))
    assert done.returncode == 0, done.stderr


def test_a_torchvision_without_operators_is_declared_for_and_imported_afresh(tmp_path):
    code = """
import sys
from powtwo.sources.vision import import_torchvision
torchvision = import_torchvision()
assert torchvision is sys.modules["torchvision"] and torchvision.half
assert torchvision.half is sys.modules["torchvision.half"]
import torch
for name in ("nms", "qnms"):
    torch._C._dispatch_find_schema_or_throw("torchvision::" + name, "")
"""
    done = run(code, stand_in(tmp_path, FAILS_AS_TORCHVISION))
    assert done.returncode == 0, done.stderr


def test_half_loaded_modules_are_forgotten_before_the_second_import(tmp_path):
    body = FAILS_AS_TORCHVISION.replace("from . import half", "from . import half; half.loads()")
    folder = stand_in(tmp_path, body)
    (folder / "torchvision" / "half.py").write_text(
        "count = 0\ndef loads():\n    global count\n    count += 1\n"
    )
    code = "from powtwo.sources.vision import import_torchvision as i; assert i().half.count == 1"
    done = run(code, folder)
    assert done.returncode == 0, done.stderr


def test_another_error_is_passed_on(tmp_path):
    code = """
import sys
from powtwo.sources.vision import import_torchvision
try:
    import_torchvision()
except RuntimeError as error:
    assert str(error) == "the disk is on fire"
else:
    raise AssertionError("no error")
assert "torch" not in sys.modules, "a declaration would have imported torch"
"""
    done = run(code, stand_in(tmp_path, "raise RuntimeError('the disk is on fire')"))
    assert done.returncode == 0, done.stderr
