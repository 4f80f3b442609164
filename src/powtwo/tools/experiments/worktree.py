"""The work tree as an experiment starts from it, and the experiments that Git knows.

Nothing here changes the work tree, its index or a branch.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from powtwo.core.scratch import scratch
from powtwo.network import source
from powtwo.sidecar import schema
from powtwo.sources import last_run, place

REFS = "refs/exps"  # DVC's: refs/exps/<2 digits>/<38 digits of the baseline>/NAME
RUNNING = f"{REFS}/exec/"  # refs of `dvc exp run` at work
CODE = ("src", "dvc.yaml", ".dvcignore")
NO_STAGE = ("src/powtwo/tools/", "src/powtwo/sidecar/")  # no byte of an output depends on these
LARGEST = 50 * 2**20  # bytes of all new files together
_NOT_OURS = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX")  # as hooks set them


@dataclass(frozen=True)
class WorkTree:
    """A state of the work tree: what is committed, what is not, and new files that Git sees."""

    root: Path
    head: str  # the commit
    tree: str  # the Git tree of all files as they lie there

    @classmethod
    def read(cls, root: Path) -> WorkTree:
        """Take the state of the work tree at `root`, which is the current folder.

        Raises:
            ValueError: where there is no commit, or Git fails.
        """
        if Path(git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            raise ValueError(f"{root}: is part of a larger Git repository; clone this one alone")
        try:
            head = git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except ValueError:
            raise ValueError("no commit here, and experiments start from one; make one") from None
        _refuse_large(root)
        index = root / git(root, "rev-parse", "--git-path", "index")
        with scratch(root / ".dvc/tmp") as folder:
            copy = folder / "index"
            if index.is_file():
                shutil.copyfile(index, copy)  # knows which files are as they were
            git(root, "add", "--all", index=copy)
            return cls(root, head, git(root, "write-tree", index=copy))

    @cached_property
    def params(self) -> str:
        """The text of params.yaml, with its ends of lines."""
        return git_bytes(self.root, "cat-file", "blob", f"{self.tree}:params.yaml").decode()

    @cached_property
    def code(self) -> str:
        """A digest of the code that stages run."""
        return code_digest(self.root, self.tree)

    def identity(self, params: schema.Params) -> str:
        """Return a digest of all that results depend on: code, parameters, and images.

        Raises:
            ValueError: where the images are not there.
        """
        values = params.model_dump_json(exclude={"data": {"path"}})  # where they lie is no matter
        images = _images(params.data, place.location(params.data))
        own = [f"{self._blob(name)} {name}" for name in source.digests(params.model)]
        parts = (self.code, values, images, *own)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _blob(self, name: str) -> str:
        """Return Git's digest of a file of the user's network, which a clone must have.

        Raises:
            ValueError: where Git ignores it.
        """
        try:
            return git(self.root, "rev-parse", "--verify", "--quiet", f"{self.tree}:{name}")
        except ValueError:
            raise ValueError(
                f"{name}: Git ignores it, and experiments run in a clone; move it where .gitignore "
                "does not name it"
            ) from None


def code_digest(root: Path, tree: str) -> str:
    """Return a digest of the code that stages run, in a commit or a tree."""
    listed = git(root, "ls-tree", "-r", tree, "--", *CODE).splitlines()
    code = [line for line in listed if not line.partition("\t")[2].startswith(NO_STAGE)]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def _refuse_large(root: Path) -> None:
    """Refuse new files of a size that no code has: an experiment's commit would hold them."""
    names = git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    sizes = {name: (root / name).lstat().st_size for name in names if name}
    if sum(sizes.values()) > LARGEST:
        name = max(sizes, key=sizes.__getitem__)
        raise ValueError(
            f"{name}: is new, and new files are part of an experiment, but these have "
            f"{sum(sizes.values()) / 2**20:.0f} MB; name them in .gitignore, or commit them"
        )


@lru_cache
def _images(source: schema.Data, path: Path | None) -> str:
    return last_run.current(source, path, last_run.read())


def experiments(root: Path) -> dict[str, str]:
    """Return the ref of each experiment by its name, the newest last."""
    listed = git(root, "for-each-ref", "--sort=committerdate", "--format=%(refname)", REFS)
    refs = [ref for ref in listed.splitlines() if not ref.startswith(RUNNING)]
    return {ref.rpartition("/")[2]: ref for ref in refs if ref.count("/") == 4}


def git(root: Path, *arguments: str, index: Path | None = None) -> str:
    """Return what a command of Git prints in `root`, by another index where given.

    Raises:
        ValueError: where it fails, with its last line.
    """
    return git_bytes(root, *arguments, index=index).decode(errors="replace").strip()


def git_bytes(root: Path, *arguments: str, index: Path | None = None) -> bytes:
    """As `git`, but the bytes."""
    environment = clean_environment() | ({"GIT_INDEX_FILE": str(index)} if index else {})
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise ValueError(f"git {arguments[0]}: {reason.splitlines()[-1]}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Return the environment without what points Git at another repository."""
    return {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
