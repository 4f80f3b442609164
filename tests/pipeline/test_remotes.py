"""What one clone has computed, another pulls from a remote: a folder, and a bucket of S3."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clone import Clone, tiny_run
from s3_server import CREDENTIALS, PYTHON, needs_s3, s3_server
from small_pipeline import SmallPipeline

pytestmark = pytest.mark.pipeline
AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")


def run(clone: Clone, *command: str) -> str:
    done = clone.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def committed(clone: Clone) -> Clone:
    for command in (["add", "--all"], [*AUTHOR, "commit", "--quiet", "--message", "a"]):
        run(clone, "git", *command)
    for key in ("user.name", "user.email"):
        run(clone, "git", "config", key, "t@t")
    return clone


def test_a_folder_remote_brings_what_another_clone_computed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = tiny_run(tmp_path_factory).copy(tmp_path / "one")
    run(one, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    committed(one)
    run(one, "dvc", "push", "--run-cache", "--quiet")
    shutil.copytree(one.folder / "images", tmp_path / "two/images")
    run(one, "git", "clone", "--quiet", ".", str(tmp_path / "two/clone"))
    two = Clone(tmp_path / "two")
    run(two, "dvc", "pull", "--run-cache", "--quiet")
    assert two.repro() == []
    assert run(two, "git", "status", "--porcelain") == ""
    folders = ("models", "exports", "report")
    assert two.bytes_of(*folders) == one.bytes_of(*folders)


@contextmanager
def remote(kind: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield a new remote's URL, and how DVC is told where its server is."""
    if kind == "folder":
        yield str(folder / "store"), []
    else:
        with s3_server("bucket") as url:
            yield "s3://bucket/powtwo", ["remote", "modify", "store", "endpointurl", url]


@pytest.mark.parametrize("kind", ["folder", pytest.param("s3", marks=needs_s3)])
def test_what_another_clone_computed_is_not_computed_again(tmp_path: Path, kind: str) -> None:
    python = str(PYTHON) if kind == "s3" else sys.executable
    one = SmallPipeline(tmp_path / "one")
    one.environment |= CREDENTIALS
    one.run("dvc", "repro", "--quiet")
    with remote(kind, tmp_path) as (place, server):
        one.run("dvc", "remote", "add", "--default", "store", place)
        if server:
            one.run("dvc", *server)
        one.commit()
        one.run(python, "-m", "dvc", "push", "--run-cache", "--quiet")
        one.run(python, "-m", "dvc", "exp", "run", "--name", "try", "-S", "train.epochs=3")
        assert one.ran() == ["seed 0", "seed 0", "trained 3", "trained 4"]
        one.git("clone", "--quiet", "--bare", ".", str(tmp_path / "hub"))
        one.git("remote", "add", "origin", str(tmp_path / "hub"))
        one.run(python, "-m", "dvc", "exp", "push", "origin", "try")
        two = SmallPipeline(tmp_path / "two", make=False)
        two.environment |= CREDENTIALS
        one.git("clone", "--quiet", str(tmp_path / "hub"), str(two.root))
        two.run(python, "-m", "dvc", "pull", "--run-cache", "--quiet")
        two.run(python, "-m", "dvc", "repro", "--quiet")
        assert (two.root / "models/float.txt").read_text(encoding="utf-8") == "4"
        two.run(python, "-m", "dvc", "exp", "pull", "origin", "try")
        two.run(python, "-m", "dvc", "exp", "apply", "try")
        assert (two.root / "models/float.txt").read_text(encoding="utf-8") == "3"
    assert two.ran() == []
