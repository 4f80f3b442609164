"""README and docs, followed: every command runs in its order, in a copy of a tiny run.

Pages are followed as `page.py` says. What the copy cannot do, `INSTEAD` says in a cheaper form and
`LEFT_OUT` not at all. A new page needs no line here, unless it has placeholders of its own.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from clone import SCHEMES, TINY, Clone, of_scheme, tiny_run
from closure import ROOT
from invoke import Collection, ParseError
from invoke.parser import Parser, ParserContext
from page import PAGES, Block, Reader, blocks, merge, missing, words

ARCHIVE = "../images.tar.xz"  # of the tiny run's images, as seen from the root of a copy
INSTEAD = {  # by page, the cheaper form of a piece of its blocks
    "README.md": {
        "./inv test ": "./inv test -- tests/integer/test_rounding.py ",  # this test is one of all
        "32*3*3*3": "4*3*3*3",  # the tiny network's first layer
    },
    "docs/images.md": {"~/images/cifar10-jpeg.tar.xz": ARCHIVE},
    "docs/networks.md": {"PATH": ARCHIVE},
    "docs/observer.md": {"test_observers.py": "test_observers.py -k three-sigma-round"},
    "docs/rtl.md": {  # the tiny network's first linear layer; its export has one golden image
        "32*3*3*3": "4*3*3*3", "CHANNELS=128": "CHANNELS=12", "CHANNELS=256": "CHANNELS=128",
        "layer14": "layer07", "[14]": "[7]", "layer13": "layer05", "IMAGES=4": "IMAGES=1",
        "SIMULATED=4": "SIMULATED=1",
    },
    "docs/search.md": {"search shift --ratio 36": "search lab --ratio 16"},
    "docs/training.md": {
        "PATH": ARCHIVE,
        "--seeds 0 1 2": "--epochs 1 --changes none 'no flip'",
        "--epochs 60 --changes none \"no crop\"": "--epochs 1 --changes none \"no crop\"",
        "NAME": "cifar10",
        "--nnodes=2 --nproc-per-node=1": "--nnodes=1 --nproc-per-node=2",  # two hosts
        "host-a:29400": "127.0.0.1:0",
    },
}  # fmt: skip
EVERYWHERE = {"/tmp/": "../"}  # beside the copy, and gone with it
LEFT_OUT: dict[tuple[str, str], str] = {}  # by page and first line of a block: why
W3 = {"weights": {"observer": "minmax-ceil", "bits": 3}, "activations": {"observer": "lab"}}


def to_follow(page: Path) -> list[Block]:
    """Return a page's blocks, without those that are left out and texts that nothing prints."""
    name = page.relative_to(ROOT).as_posix()
    result: list[Block] = []
    for block in blocks(page):
        printed = bool(result) and result[-1].language == "sh"
        left_out = (name, block.text.partition("\n")[0]) in LEFT_OUT
        if not left_out and (block.language != "text" or printed):
            result.append(block)
    return result


# The blocks


@pytest.fixture
def reader(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Someone in a copy of the tiny run, installed and committed, where presets are short."""
    clone = tiny_run(tmp_path_factory).copy(tmp_path / "copy")
    install(clone)
    for path in (clone.root / "presets").glob("*.yaml"):
        shorten(path)
    shutil.copytree(ROOT / "results", clone.root / "results")
    with tarfile.open(clone.root / ARCHIVE, "w:xz") as archive:
        archive.add(clone.folder / "images", "images")
    for key in ("user.name", "user.email"):
        clone.run("git", "config", key, "x")
    return Reader(clone, {})


def install(clone: Clone) -> None:
    """Make this Python's environment the clone's, as `./inv` would after an installation."""
    venv, root = clone.root / ".venv", clone.root.resolve()
    venv.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name in ("bin", "lib", "lib64", "pyvenv.cfg"):
            (venv / path.name).symlink_to(path)
    wanted = (root / "requirements.txt").read_text(encoding="utf-8")
    (venv / "installed.txt").write_text(f"# {root}\n{wanted}", encoding="utf-8")


def shorten(preset: Path) -> None:
    """Make a preset one of seconds, of the tiny run's images."""
    values = yaml.safe_load(preset.read_text(encoding="utf-8"))
    short = {section: TINY[section] for section in ("train", "calibrate", "evaluate")}
    if values.get("data", {}).get("name", "mnist5k") != "mnist5k":
        short["data"] = {"name": "images", "sha256": None}
    merge(values, {**short, "train": {**short["train"], "epochs": 1}})
    preset.write_text(yaml.safe_dump(values), encoding="utf-8")


def commit(clone: Clone) -> None:
    clone.run("git", "add", "--all").check_returncode()
    clone.run("git", "commit", "--quiet", "--message", "before").check_returncode()


@pytest.mark.pipeline
@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if to_follow(page)], ids=lambda page: page.name
)
def test_every_block_of_a_page_works_in_its_order(page: Path, reader: Reader) -> None:
    name = page.relative_to(ROOT).as_posix()
    reader.instead = INSTEAD.get(name, {}) | EVERYWHERE
    reader.unused = set(INSTEAD.get(name, {}))
    if any("w3" in block.text for block in to_follow(page)):  # a default scheme
        reader.clone.edit_params(lambda values: values["schemes"].update(w3=W3))
        reader.clone.repro()
    commit(reader.clone)
    lacking: set[str] = set()
    for block in to_follow(page):
        lacking |= (lacks := missing(block))
        if not lacks:
            reader.follow(block)
    AFTER.get(name, lambda _: None)(reader)
    assert "git add" not in reader.printed  # DVC's hints
    assert "dvc push" not in reader.printed
    if lacking:
        pytest.skip(f"not installed: {', '.join(sorted(lacking))}, for the blocks that call it")
    assert not reader.unused, "INSTEAD has what the page no longer has"


def after_observer(reader: Reader) -> None:
    """What docs/observer.md says of its run."""
    again = ["source", *of_scheme("three-sigma")]
    again += [f"{stage}@{name}" for name in SCHEMES for stage in ("calibrate", "finetune")]
    assert sorted(re.findall(r"Running stage '([^']+)'", reader.printed)) == sorted(
        [*again, "compare"]
    )
    assert "three-sigma" in (reader.clone.root / "plots/schemes.csv").read_text(encoding="utf-8")
    for key in ("drop_points", "energy_ratio", "min_sqnr_db", "size_mb", "validation_accuracy"):
        assert re.search(rf"metrics/compare.json +{key}.three-sigma ", reader.printed)
    assert re.search(r"\b[1-9]\d* passed", reader.printed)


def after_readme(reader: Reader) -> None:
    """What a run ends with."""
    assert "The report: report/index.html\n" in reader.printed


AFTER: dict[str, Callable[[Reader], None]] = {
    "README.md": after_readme,
    "docs/observer.md": after_observer,
}


def test_what_is_left_out_still_stands_in_its_page() -> None:
    there = {(each.page, each.text.partition("\n")[0]) for page in PAGES for each in blocks(page)}
    assert set(LEFT_OUT) <= there
    assert set(INSTEAD) <= {page for page, _ in there}


# The commands within sentences and tables


def parse(command: str, monkeypatch: pytest.MonkeyPatch) -> list[ParserContext]:
    """Have Invoke parse a command; it refuses tasks and options that there are not."""
    monkeypatch.setattr(sys, "argv", ["inv", *command.split()])  # which tasks.py reads
    spec = importlib.util.spec_from_file_location("tasks_of_a_page", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    tasks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tasks)
    own = command.partition(" -- ")[0].split()
    return list(Parser(Collection.from_module(tasks).to_contexts()).parse_argv(own))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    presets = {path.stem for path in (ROOT / "presets").glob("*.yaml")} | {"NAME"}
    benchmarks = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")} | {"NAME"}
    for line, command in words(page):
        where = f"{page.name}:{line}: inv {command}"
        if command.startswith("--"):  # Invoke's own
            continue
        try:
            parse(command, monkeypatch)
        except ParseError as error:
            pytest.fail(f"{where}: {error}")
        for option, known in ((r"(?:use|--preset)", presets), ("bench", benchmarks)):
            for name in re.findall(rf"\b{option} ([\w-]+)", command):
                assert name in known, where


def test_every_option_in_the_table_of_tasks_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) > 10
    for first, text in rows:
        tasks = [re.sub(r"[][]", "", name) for name in re.findall(r"`([^`]+)`", first)]
        contexts = [parse(task, monkeypatch)[0] for task in tasks]
        option = r"(--?[a-z][a-z-]*)"
        named = {*re.findall(f"[` ]{option}", first), *re.findall(f"`{option}", text)}
        known: set[str] = set()
        for context in contexts:
            for argument in context.args.values():
                flags = {"-" * min(2, len(name)) + name for name in argument.names}
                known |= flags
                told = flags & named or argument in context.positional_args
                assert told, f"docs/tasks.md: {context.name}: {min(flags)}: missing"
        assert named <= known, f"docs/tasks.md: {first}: {named - known}: no such option"
    for path in (ROOT / "benchmarks").glob("[!_]*.py"):
        assert f"`{path.stem}`" in page, f"docs/tasks.md: {path.name}: missing"
