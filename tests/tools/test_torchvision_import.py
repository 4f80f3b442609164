"""torchvision can be imported where its operators are missing, and is else left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from powtwo.tools.torchvision_import import import_torchvision

SOURCE = Path(__file__).resolve().parents[2] / "src"


def test_another_error_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('the disk is on fire')")
    monkeypatch.syspath_prepend(tmp_path)
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
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
