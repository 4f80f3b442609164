"""Pages of the documentation, followed as a reader follows them: block by block, in their order.

A block is what stands between ``` and ```. What is done with it, its language says:

sh       a shell runs it at the repository's root; each command must succeed
text     after a `sh`: lines that its output has, whatever their numbers
python   runs with the Python blocks before it, as one program; with PYTHONPATH=src where the
         sentence before says so
yaml     goes into params.yaml; an indented one is of `schemes`, one of other keys is only parsed
bash     a script for another machine: only parsed
verilog  declarations for one module, simulated in exports/lab
c        is written to a file

Of Python, YAML and C the sentence before may say where it goes: "to the end of `FILE`", or "as
`FILE`".
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from clone import Clone
from closure import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("cc", "iverilog")  # that a machine may lack
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d[\d.,]*")


class Block(NamedTuple):
    """A block of a page."""

    page: str  # its path from the root
    line: int  # where its text begins
    language: str
    text: str
    before: str  # the paragraph that leads to it

    @property
    def programs(self) -> set[str]:
        """Name the programs it needs that a machine may lack."""
        if self.language == "verilog":
            return {"iverilog"}
        return {name for name in PROGRAMS if re.search(rf"^{name} ", self.text, re.MULTILINE)}

    def target(self, how: str) -> str:
        """Return the file that the paragraph before names, after words such as `end of`."""
        found = re.findall(rf"{how} `([\w./-]+)`", self.before)
        return found[-1] if found else ""


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, Python ones that follow each other as one program."""
    name, text = page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(FENCE.findall(text)), name
    joined: list[Block] = []
    for fence in FENCE.finditer(text):
        language, code = fence.groups()
        line = text.count("\n", 0, fence.start(2)) + 1
        before = re.split(r"\n\n|```", text[: fence.start()].rstrip())[-1]
        block = Block(name, line, language, code, " ".join(before.split()))
        programs = [i for i, each in enumerate(joined) if each.language != "text"]
        last = joined[programs[-1]] if programs else None
        if last and (last.language, block.language) == ("python", "python"):
            gap = "\n" * (line - last.line - last.text.count("\n"))  # so that lines are the page's
            joined[programs[-1]] = last._replace(text=last.text + gap + code)
        else:
            joined.append(block)
    return joined


class Reader:
    """Follows blocks in a clone; `instead` has what to run in the place of a piece of text."""

    def __init__(self, clone: Clone, instead: Mapping[str, str]) -> None:
        self.clone, self.instead = clone, instead
        self.unused = set(instead)
        self.output = ""  # of the last block that ran
        self.printed = ""  # of all

    def follow(self, block: Block) -> None:
        """Do what a block says; the test fails where that fails, with the page and the line."""
        text = block.text
        for old, new in self.instead.items():
            if old in text:
                self.unused.discard(old)
                text = text.replace(old, new)
        getattr(self, f"_{block.language}")(block, text)

    def _sh(self, block: Block, text: str) -> None:
        trap = "trap 'echo failed at line $LINENO >&2' ERR"
        self._run(block, "bash", "-euo", "pipefail", self._write(block, text, first=trap))

    def _python(self, block: Block, text: str) -> None:
        if file := block.target("end of"):
            self.clone.edit(file, new="\n\n" + text)
        elif block.target("as"):
            self._write_target(block, text)
        else:
            path = ["env", "PYTHONPATH=src"] if "PYTHONPATH=src" in block.before else []
            self._run(block, *path, ".venv/bin/python", self._write(block, text))

    def _yaml(self, block: Block, text: str) -> None:
        if block.target("as"):
            self._write_target(block, text)
        else:
            values = yaml.safe_load(text)
            values = {"schemes": values} if text.startswith(" ") else values
            self.clone.edit_params(
                lambda params: merge(params, values) if values.keys() <= params.keys() else None
            )

    def _bash(self, block: Block, text: str) -> None:
        self._run(block, "bash", "-n", self._write(block, text))

    def _verilog(self, block: Block, text: str) -> None:
        file = self._write(block, text + "endmodule\n", first="module page;")
        program = str(Path(file).with_suffix(".vvp"))
        self._run(block, "iverilog", "-g2005", "-o", program, file)
        self._run(block, "vvp", "-n", program, at="exports/lab")
        assert not self.output, f"{block.page}:{block.line}: {self.output}"

    def _c(self, block: Block, text: str) -> None:
        self._write_target(block, text)

    def _write_target(self, block: Block, text: str) -> None:
        path = self.clone.root / block.target("as")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _text(self, block: Block, text: str) -> None:
        for number, line in enumerate(text.splitlines(), start=block.line):
            words = (re.escape(NUMBER.sub("\0", word)) for word in line.split())
            pattern = r"\s+".join(words).replace("\0", NUMBER.pattern)
            assert re.search(rf"^\s*{pattern}\s*$", self.output, re.MULTILINE), (
                f"{block.page}:{number}: not printed: {line}\n{self.output}"
            )

    def _write(self, block: Block, text: str, first: str = "") -> str:
        """Write a program whose lines have the numbers that they have in the page."""
        path = self.clone.folder / f"{block.page}.{block.line}.{block.language}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(first + "\n" * (block.line - 1) + text, encoding="utf-8")
        return str(path)

    def _run(self, block: Block, *command: str, at: str = "") -> None:
        done = subprocess.run(
            command, cwd=self.clone.root / at, env=self.clone.environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        self.output = done.stdout + done.stderr
        self.printed += self.output
        assert done.returncode == 0, f"{block.page}:{block.line}: {self.output}"


def merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put changes into nested mappings, in place; a section `model` is replaced as a whole."""
    for key, change in changes.items():
        if key != "model" and isinstance(change, dict) and isinstance(values.get(key), dict):
            merge(values[key], change)
        else:
            values[key] = change


def words(page: Path) -> Iterator[tuple[int, str]]:
    """Yield each `inv` command of a page and its line: those in the text, and those of blocks."""
    text = page.read_text(encoding="utf-8")
    inline = re.finditer(r"`(?:\./)?inv ([^`]+)`", text)
    in_blocks = re.finditer(r"^(?:\./)?inv ([^#\n]+)", text, re.MULTILINE)
    for command in (*inline, *in_blocks):
        yield text.count("\n", 0, command.start()) + 1, " ".join(command[1].split())


def missing(block: Block) -> set[str]:
    """Return the programs that a block needs and this machine lacks."""
    return {name for name in block.programs if shutil.which(name) is None}
