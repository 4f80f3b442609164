"""An export replaces an older export, and nothing that anybody else put there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from export_cases import dataset, small_network
from published_run import contents

from powtwo.export import manifest
from powtwo.export.bundle import write_bundle

NETWORK = small_network()
IMAGES = dataset(NETWORK)


def write(folder: Path, formats: tuple[str, ...] = ("course", "memory")) -> None:
    write_bundle(folder, NETWORK, IMAGES, 2, formats)


def states(root: Path) -> dict[Path, tuple[int, int, int, int]]:
    """Return what tells whether anything below a folder was touched; reading it is no touch."""
    found = {path: path.lstat() for path in root.rglob("*")}
    return {p: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns) for p, s in found.items()}


def edit(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"\n")


def link(name: str, target: str) -> Callable[[Path], object]:
    """Put what `name` holds to `target` beside the folder, and a link in its place."""
    return lambda folder: [
        (folder / name).rename(folder.parent / target),
        (folder / name).symlink_to(folder.parent / target),
    ]


USER = {  # what somebody does to an export: what the next one says
    "adds a file": (lambda f: (f / "notes.txt").write_text("a"), "holds notes.txt, which no exp"),
    "adds a file below": (lambda f: (f / "memory/x.hex").write_text("a"), "holds memory/x.hex, "),
    "adds an empty folder": (lambda f: (f / "mine").mkdir(), "holds mine, which no export wrote"),
    "adds a link": (lambda f: (f / "link").symlink_to(f), "holds link, which no export wrote"),
    "adds a pipe": (lambda f: os.mkfifo(f / "pipe"), "holds pipe, which no export wrote"),
    "edits a file": (edit("README.md"), "README.md was changed since it was exported"),
    "edits one below": (edit("memory/golden/input.hex"), "memory/golden/input.hex was changed"),
    "edits the manifest": (edit("manifest.json"), "manifest.json is not as an export of this ver"),
    "removes the manifest": (lambda f: (f / "manifest.json").unlink(), "holds README.md, which"),
    "moves a file": (link("weight.bin", "w.bin"), "weight.bin was changed since"),
    "moves a folder": (link("memory", "images"), "holds memory, which no export wrote"),
    "moves the manifest": (link("manifest.json", "m.json"), "manifest.json is not as an export"),
    "puts a folder for a file": (
        lambda f: [(f / "weight.bin").unlink(), (f / "weight.bin").mkdir()],
        "weight.bin was changed since it was exported",
    ),
}


@pytest.mark.parametrize(("does", "said"), USER.values(), ids=USER)
def test_what_is_not_as_exported_is_refused(
    does: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "fw"
    write(folder)
    does(folder)
    before = states(tmp_path)
    with pytest.raises(ValueError, match=f"^{folder}: {said}.*; move it, or name a new folder$"):
        write(folder, ("c99",))
    assert states(tmp_path) == before


def test_an_export_as_it_was_written_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "fw")
    (tmp_path / "fw/weight.bin").unlink()  # nothing is lost of what is gone
    (tmp_path / "fw/memory/.DS_Store").write_text("opened in the Finder")
    write(tmp_path / "fw", ("c99",))
    write(tmp_path / "new", ("c99",))
    assert contents(tmp_path / "fw") == contents(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fw", "new"]


MANIFESTS = {
    "a web app's": {"name": "app", "icons": []},
    "one that lists": {"format": 1, "files": {"index.html": {"bytes": 1, "sha256": "0" * 64}}},
    "a list": ["manifest.json"],
    "text": "files",
}


@pytest.mark.parametrize("values", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_of_somebody_else_is_refused(values: object, tmp_path: Path) -> None:
    text = json.dumps(values)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/manifest.json").write_text(text)
    (tmp_path / "site/index.html").write_text("1")
    with pytest.raises(ValueError, match=r"site: manifest\.json is not as an export of this"):
        write(tmp_path / "site")
    assert contents(tmp_path) == {"site/manifest.json": text.encode(), "site/index.html": b"1"}


def test_a_manifest_reaches_no_file_outside(tmp_path: Path) -> None:
    write(tmp_path / "fw", ())
    described = manifest.load(tmp_path / "fw")
    described.pop(manifest.SEAL)
    (tmp_path / "thesis.txt").write_text("years")
    described["files"] |= manifest.hashes({"../thesis.txt": b"years", "/etc/hostname": b""})
    (tmp_path / "fw/manifest.json").write_bytes(manifest.sealed(described))
    write(tmp_path / "fw", ())
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_files_links_and_where_somebody_stands_are_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "here/below").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path / "here/below")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    stood_on = "is or holds a home folder, the current one or a mount"
    for folder, said in {
        tmp_path / "file": "is a file; name a folder",
        tmp_path / "link": f"is a link to {tmp_path / 'empty'}; name the folder itself",
        tmp_path / "dangling": "is a link to ",
        tmp_path / "home": stood_on,
        tmp_path / "here": stood_on,
        Path(): stood_on,
        Path("/"): stood_on,
    }.items():
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ValueError, match=f"^{folder}: {said}"):
            write(folder, ())
        assert sorted(tmp_path.rglob("*")) == before
    write(tmp_path / "empty", ())


def test_what_arrives_while_the_files_are_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fw"
    write(folder, ())
    before = contents(folder)
    write_bytes = Path.write_bytes

    def slowly(path: Path, data: bytes) -> int:
        (folder / "notes.txt").write_text("meanwhile")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", slowly)
    with pytest.raises(ValueError, match=r"fw: holds notes\.txt"):
        write(folder, ("course",))
    assert contents(tmp_path) == {f"fw/{name}": data for name, data in before.items()} | {
        "fw/notes.txt": b"meanwhile"
    }
