"""A repository whose pipeline takes no time: two stages that write what experiments compare."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from closure import ROOT

DVC_YAML = """
stages:
  train:
    cmd: python src/train.py
    deps: [src/train.py]
    params: [train.epochs]
    outs: [models/float.txt]
  compare:
    cmd: python src/compare.py
    deps: [src/compare.py, models/float.txt]
    params: [seed, schemes]
    metrics:
      - metrics/accuracy.json: {cache: false}
      - metrics/compare.json: {cache: false}
"""
TRAIN = """
import os, pathlib, yaml
epochs = yaml.safe_load(open("params.yaml"))["train"]["epochs"]
print("trained", epochs, file=open(os.environ["TRACE"], "a"))
pathlib.Path("models").mkdir(exist_ok=True)
pathlib.Path("models/float.txt").write_text(str(epochs))
"""
COMPARE = """
import json, os, pathlib, sys, time, yaml
values = yaml.safe_load(open("params.yaml"))
print("seed", values["seed"], file=open(os.environ["TRACE"], "a"))
while pathlib.Path(os.environ["TRACE"] + ".gate").exists():
    time.sleep(0.05)
if values["seed"] == 13:
    sys.exit("compare: seed = 13: unlucky; choose another")
bits = {name: scheme["weights"]["bits"] for name, scheme in values["schemes"].items()}
right = {name: round(0.9 + bit / 100 + values["seed"] / 1000, 3) for name, bit in bits.items()}
pathlib.Path("metrics").mkdir(exist_ok=True)
json.dump({"FP32": 0.99, **right}, open("metrics/accuracy.json", "w"))
compared = {"validation_accuracy": right, "size_mb": dict.fromkeys(bits, 1.5),
            "energy_ratio": {name: 32 / bit for name, bit in bits.items()}}
json.dump(compared, open("metrics/compare.json", "w"))
"""


class SmallPipeline:
    """The repository in `folder`, committed; `trace` has a line for each stage that ran."""

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        """Write and commit it, or take the one that is there."""
        self.root, self.trace = folder / "re po", folder / "trace"
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "TRACE": str(self.trace),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
        }
        self.environment.pop("POWTWO_DATA", None)
        if make:
            self._make()

    def _make(self) -> None:
        files = {"dvc.yaml": DVC_YAML, "src/train.py": TRAIN, "src/compare.py": COMPARE,
                 ".dvc/config": "[core]\n    analytics = false\n",
                 ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
                 "src/old.py": "", ".gitignore": "/models\n/logs\n__pycache__\n"}  # fmt: skip
        for name, text in files.items():
            self.write(name, text)
        shutil.copy(ROOT / "tests/data/params.yaml", self.root)
        self.git("init", "--quiet")
        for key in ("user.name", "user.email"):
            self.git("config", key, "t@t")
        self.commit()

    @property
    def gate(self) -> Path:
        """While this file is there, the stage `compare` waits."""
        return Path(f"{self.environment['TRACE']}.gate")

    def write(self, name: str, text: str) -> Path:
        """Write a file, and return its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def commit(self) -> None:
        """Commit all there is."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a")

    def git(self, *words: str) -> str:
        """Return what a command of Git prints."""
        return self.run("git", *words).stdout

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command at the root, and require its exit code."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def start(self, tool: str, *words: str) -> subprocess.Popen[str]:
        """Start a tool of experiments in the background."""
        command = [sys.executable, "-m", f"powtwo.tools.experiments.{tool}", *words]
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def tool(self, tool: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a tool of experiments."""
        return self.run(sys.executable, "-m", f"powtwo.tools.experiments.{tool}", *words, code=code)

    def sweep(self, *words: str, code: int = 0) -> list[list[str]]:
        """Run a sweep, and return the words of each point's line."""
        lines = self.tool("sweep", "points.yaml", *words, code=code).stdout.splitlines()[1:]
        return [line.split() for line in lines if " points-" in line]

    def state(self) -> tuple[str, ...]:
        """Return what Git says of the work tree and the index."""
        commands = (["status", "--porcelain"], ["diff"], ["diff", "--cached"])
        return tuple(self.git(*command) for command in commands)

    def ran(self) -> list[str]:
        """Return what ran since the last call, in any order."""
        lines = self.trace.read_text(encoding="utf-8").splitlines() if self.trace.exists() else []
        self.trace.unlink(missing_ok=True)
        return sorted(lines)

    def experiments(self) -> list[str]:
        """Return the names of experiments that Git has."""
        refs = self.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
        return sorted(ref.rpartition("/")[2] for ref in refs if "/exec/" not in ref)

    def table(self) -> list[dict[str, str]]:
        """Return the rows of the leaderboard."""
        return list(csv.DictReader(io.StringIO(self.tool("leaderboard", "--csv").stdout)))
