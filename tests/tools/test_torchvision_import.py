"""torchvision can be imported where its operators are missing, and is else left alone."""

from __future__ import annotations

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


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file that is imported as torchvision, which declares nothing."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torchvision_import, "_libraries", None)
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        yield tmp_path / "torchvision.py"


def test_a_torchvision_that_imports_is_left_alone(stand_in: Path) -> None:
    stand_in.write_text("complete = True")
    assert import_torchvision().complete


def test_another_error_is_passed_on(stand_in: Path) -> None:
    stand_in.write_text("raise RuntimeError('the disk is on fire')")
    with pytest.raises(RuntimeError, match="^the disk is on fire$"):
        import_torchvision()


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


@pytest.mark.slow
def test_the_installed_torchvision_becomes_usable_and_stays_so() -> None:
    """Run code in a fresh interpreter, where nothing was declared or imported."""
    command = [sys.executable, "-W", "error", "-c", INSTALLED]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
