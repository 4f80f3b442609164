"""torchvision can be imported with and without its operators, and these are declared only without.

The installed torchvision and stand-ins for it are tried in fresh interpreters or module tables.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from powtwo.tools import torchvision_import
from powtwo.tools.torchvision_import import import_torchvision

SOURCE = Path(__file__).resolve().parents[2] / "src"
INCOMPLETE = """
import sys
from . import half
half.loads += 1
if "declared" not in sys.modules:
    raise RuntimeError("operator torchvision::nms does not exist")
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file of a package that is imported as torchvision, in a table without the real."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "half.py").write_text("loads = 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        yield package / "__init__.py"


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Have a declaration be noted in the table of modules, where a stand-in looks for it."""
    noted = mock.Mock(side_effect=lambda: sys.modules.update(declared=sys))
    monkeypatch.setattr(torchvision_import, "_declare", noted)
    return noted


def test_a_torchvision_that_imports_is_left_alone(stand_in: Path, declare: mock.Mock) -> None:
    stand_in.write_text("complete = True")
    assert import_torchvision().complete
    assert not declare.called


def test_one_without_operators_is_declared_for_and_imported_afresh(
    stand_in: Path, declare: mock.Mock
) -> None:
    stand_in.write_text(INCOMPLETE)
    torchvision = import_torchvision()
    assert declare.call_count == 1
    assert torchvision is sys.modules["torchvision"]
    assert torchvision.half is importlib.import_module("torchvision.half")
    assert torchvision.half.loads == 1  # what the failed import had loaded was forgotten


def test_another_error_is_passed_on(stand_in: Path, declare: mock.Mock) -> None:
    stand_in.write_text("raise RuntimeError('the disk is on fire')")
    with pytest.raises(RuntimeError, match="^the disk is on fire$"):
        import_torchvision()
    assert not declare.called


INSTALLED = """
import gc, torch
try:
    import torchvision
except RuntimeError as error:
    assert "torchvision::nms" in str(error)
from powtwo.tools import torchvision_import
torchvision = torchvision_import.import_torchvision()
gc.collect()  # would end a declaration that nothing holds
assert torchvision_import.import_torchvision() is torchvision
for name in ("nms", "qnms"):
    torch._C._dispatch_find_schema_or_throw("torchvision::" + name, "")
import torchvision.transforms.v2 as v2
flipped = v2.RandomHorizontalFlip(1.0)(torch.tensor([[[1, 2]]]))
assert flipped.tolist() == [[[2, 1]]] and torchvision.datasets.CIFAR10
"""
COMPLETE = """
from unittest import mock
from powtwo.tools import torchvision_import
try:
    import torchvision
except RuntimeError:  # declared beforehand, its operators are there as on a complete install
    torchvision_import._forget()
    torchvision_import._declare()
with mock.patch.object(torchvision_import, "_declare") as declare:
    assert torchvision_import.import_torchvision().datasets.CIFAR10
assert not declare.called
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [INSTALLED, COMPLETE], ids=["installed", "complete"])
def test_the_installed_torchvision_becomes_usable_and_stays_so(code: str) -> None:
    """Run code in a fresh interpreter, where nothing was declared or imported."""
    command = [sys.executable, "-W", "error", "-c", code]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
