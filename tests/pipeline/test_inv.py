"""`inv` with a stub for `python3`, so that nothing is installed, and the pins that it installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from closure import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What the stubs do is steered by files beside them and told in the file `calls`.
PYTHON3 = """#!/bin/sh
case $1 in
-c) exec "{python}" -c "import sys; sys.version_info = $(cat "{box}/version"); $2" ;;
-V) echo Python 3.10.13 ;;
-m) echo "python3 $*" >>"{box}/calls"
    for venv; do :; done
    rm -rf "$venv" && mkdir -p "$venv/bin" && cp "{box}/venv-python" "$venv/bin/python" ;;
esac
"""
VENV_PYTHON = """#!/bin/sh
[ "$*" = "-m pip --version" ] && exit 0
echo "python $*" >>"{box}/calls"
[ ! -e "{box}/offline" ] || exit 1
# As with pip, what was installed once is not put back when a script of it is gone.
[ -e "${{0%/*}}/installed" ] || cp "{box}/invoke" "${{0%/*}}/invoke"
: >"${{0%/*}}/installed"
"""
INVOKE = """#!/bin/sh
echo "PATH=${{PATH%%:*}}"
for word; do echo "<$word>"; done
exit 7
"""


class Checkout:
    """A folder with `inv`, requirements.txt and stubs, all with spaces in their paths."""

    def __init__(self, folder: Path) -> None:
        self.root, self.box = folder / "a check  out", folder / "a box"
        self.root.mkdir()
        self.box.mkdir()
        shutil.copy(ROOT / "inv", self.root / "inv")
        self.require("one==1\n")
        self.version(3, 11, 0)
        stubs = {"python3": PYTHON3, "venv-python": VENV_PYTHON, "invoke": INVOKE}
        for name, text in stubs.items():
            stub = text.format(box=self.box, python=sys.executable)
            (self.box / name).write_text(stub, encoding="utf-8")
            (self.box / name).chmod(0o755)
        for name in ("sh", "dirname", "cat", "cmp", "head", "rm", "mv", "mkdir", "cp"):
            self.box.joinpath(name).symlink_to(shutil.which(name) or name)

    def require(self, text: str) -> None:
        (self.root / "requirements.txt").write_text(text, encoding="utf-8")

    def version(self, *numbers: int) -> None:
        (self.box / "version").write_text(f"{numbers}", encoding="utf-8")

    def inv(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        (self.box / "calls").write_text("", encoding="utf-8")
        return subprocess.run(
            [str(self.root / "inv"), *arguments],
            cwd=cwd or self.box,
            env={"PATH": str(self.box)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> list[str]:
        """Say in one word each what the last call of `inv` made."""
        text = (self.box / "calls").read_text(encoding="utf-8")
        return ["venv" if " -m venv " in line else "pip" for line in text.splitlines()]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if os.name == "nt":
        pytest.skip("inv is a POSIX script; README has the equivalents for Windows")
    return Checkout(tmp_path)


def test_first_use_and_a_changed_requirement_install_once(checkout: Checkout) -> None:
    for requirement, calls in (("one==1\n", ["venv", "pip"]), ("one==2\n", ["pip"])):
        checkout.require(requirement)
        for expected in (calls, []):
            assert checkout.inv().returncode == 7  # the stub Invoke's own exit code
            assert checkout.calls() == expected


def test_a_failed_install_is_tried_again(checkout: Checkout) -> None:
    (checkout.box / "offline").touch()
    for _ in range(2):
        failed = checkout.inv()
        assert (failed.returncode, failed.stdout) == (1, "")
        assert failed.stderr.endswith("installing failed, see above; the next call tries again\n")
    (checkout.box / "offline").unlink()
    assert checkout.inv().returncode == 7
    (checkout.box / "offline").touch()
    checkout.require("one==2\n")
    checkout.inv()
    (checkout.box / "offline").unlink()
    checkout.require("one==1\n")  # half of 2 may be installed
    checkout.inv()
    assert checkout.calls() == ["pip"]


@pytest.mark.parametrize("missing", ["python", "invoke"])
def test_a_broken_environment_is_mended(checkout: Checkout, missing: str) -> None:
    checkout.inv()
    (checkout.root / ".venv" / "bin" / missing).unlink()
    (checkout.root / ".venv" / "bin" / missing).symlink_to("gone")
    assert checkout.inv().returncode == 7
    assert checkout.calls() == ["venv", "pip"]


def test_a_moved_checkout_gets_its_own_environment(checkout: Checkout) -> None:
    checkout.inv()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved here"))
    assert checkout.inv().returncode == 7
    assert checkout.calls() == ["venv", "pip"]


def test_a_link_to_the_environment_of_another_checkout_is_refused(checkout: Checkout) -> None:
    checkout.inv()
    first, checkout.root = checkout.root, checkout.root.with_name("second")
    checkout.root.mkdir()
    for name in ("inv", "requirements.txt"):
        shutil.copy(first / name, checkout.root / name)
    checkout.root.joinpath(".venv").symlink_to(first / ".venv")
    refused = checkout.inv()
    assert refused.returncode == 1
    assert refused.stderr == f"inv: {checkout.root}/.venv: is a link to another venv; remove it\n"
    assert (first / ".venv" / "bin" / "invoke").exists()


def test_an_old_python_is_refused_in_one_line(checkout: Checkout) -> None:
    checkout.version(3, 10, 13)
    refused = checkout.inv()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "inv: python3 is Python 3.10.13, but PowTwo needs 3.11 or newer; "
        "put a newer python3 first on PATH\n"
    )
    assert not (checkout.root / ".venv").exists()


def test_no_python_is_said_in_one_line(checkout: Checkout) -> None:
    (checkout.box / "python3").unlink()
    refused = checkout.inv()
    assert refused.returncode == 1
    assert refused.stderr == "inv: python3: not found; install Python 3.11 or newer\n"


def test_arguments_reach_invoke_as_they_are(checkout: Checkout) -> None:
    checkout.inv()
    words = ["test", "--", "-k", "two words", "", "*", "$HOME", 'a"b']
    handed = checkout.inv(*words, cwd=Path("/")).stdout.splitlines()
    root = checkout.root
    assert handed[0] == f"PATH={root}/.venv/bin"
    assert handed[1:] == [f"<{word}>" for word in ["--search-root", str(root), *words]]


# The pins


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    by_name = {canonicalize_name(pin.name): pin for pin in pins}
    assert len(by_name) == len(pins)
    for name, pin in by_name.items():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), name  # no +cpu, no ranges
        assert pin.url is None
        assert not name.startswith(("nvidia", "cuda", "triton", "pywin32"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        (version,) = by_name[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(version.version), text
