"""Which images a source holds: what changes its digest, what does not, and what it costs."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from powtwo.sources import cifar10, digest, last_run, place
from powtwo.sources.last_run import Images
from powtwo.sources.params import Source


def source(name: str = "images", **changes: object) -> Source:
    return Source.model_validate(
        {"name": name, "sha256": None, "path": None, "validation": 0.1} | changes
    )


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digest, "SETTLED", -60)  # files of this moment are remembered as well
    monkeypatch.delenv(place.ENVIRONMENT, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
        write(folder / name, name)
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def touch_back(path: Path) -> None:
    """Change a file, and give it the time that it had."""
    about = path.stat()
    path.write_text("X" + path.read_text()[1:])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda path: write(path / "train/a/1.png", "other"),
    "content, size and time kept": lambda path: touch_back(path / "train/a/1.png"),
    "one more": lambda path: write(path / "train/a/2.png", "x"),
    "one less": lambda path: (path / "train/a/1.png").unlink(),
    "another class": lambda path: (path / "train/a").rename(path / "train/c"),
    "the halves": lambda path: [
        (path / "train").rename(path / "x"), (path / "test").rename(path / "train"),
        (path / "x").rename(path / "test"),
    ],
}  # fmt: skip
SAME: dict[str, Callable[[Path], object]] = {
    ".DS_Store": lambda path: write(path / "train/a/.DS_Store", "x"),
    "Icon": lambda path: write(path / "train/Icon\r", "x"),
    "Thumbs.db": lambda path: write(path / "test/b/Thumbs.db", "x"),
    "AppleDouble": lambda path: write(path / "__MACOSX/train/a/._1.png", "x"),
    "notebooks": lambda path: write(path / ".ipynb_checkpoints/train/1.png", "x"),
    "beside": lambda path: write(path / "movies/2026.mp4", "x"),
    "at the top": lambda path: write(path / "README.md", "x"),
    "time": lambda path: os.utime(path / "train/a/1.png", (0, 0)),
    "copy": lambda path: [shutil.copytree(path, path.with_name("copy")), shutil.rmtree(path),
                          path.with_name("copy").rename(path)],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_other_images_have_another_digest(folder: Path, change: str) -> None:
    before = digest.digest(source(), folder)
    assert before.startswith("folder-sha256:")
    CHANGES[change](folder)
    after = digest.digest(source(), folder)
    assert after != before
    digest.MEMORY.unlink()
    assert digest.digest(source(), folder) == after


@pytest.mark.parametrize("change", SAME)
def test_what_is_no_image_and_where_they_lie_is_no_part_of_it(folder: Path, change: str) -> None:
    before = digest.digest(source(), folder)
    SAME[change](folder)
    assert digest.digest(source(), folder) == before
    assert digest.digest(source(), folder.rename(folder.with_name("elsewhere"))) == before


def test_a_folder_around_the_halves_is_searched(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "moved")
    (tmp_path / "top").mkdir()
    (tmp_path / "moved").rename(tmp_path / "top/images")
    before = digest.digest(source(), tmp_path / "top")
    write(tmp_path / "top/images/train/a/1.png", "other")
    assert digest.digest(source(), tmp_path / "top") != before


def test_nothing_is_read_twice_while_nothing_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = folder.with_suffix(".tar")
    with tarfile.open(archive, "w") as file:
        file.add(folder, "images")
    first = [digest.digest(source(), path) for path in (folder, archive)]
    with monkeypatch.context() as patched:
        patched.setattr(digest, "_hash", None)
        assert [digest.digest(source(), path) for path in (folder, archive)] == first
    assert str(folder) not in digest.MEMORY.read_text()


def test_files_that_are_new_are_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit in the same tick of the clock would leave their times as they are."""
    monkeypatch.setattr(digest, "SETTLED", 2)
    digest.digest(source(), folder)
    assert not digest.MEMORY.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}'])
def test_a_damaged_or_unwritable_memory_costs_time_alone(folder: Path, text: str) -> None:
    before = digest.digest(source(), folder)
    write(digest.MEMORY, text)
    assert digest.digest(source(), folder) == before
    shutil.rmtree(digest.MEMORY.parent)
    digest.MEMORY.parent.touch()  # a file where a folder should be
    assert digest.digest(source(), folder) == before


def test_an_archive_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest.digest(source(), path) == f"sha256:{abc}"
    assert digest.digest(source(sha256=abc), path) == f"sha256:{abc}"
    with pytest.raises(ValueError, match=rf"a.zip: is sha256:{abc}, and must be sha256:0+;"):
        digest.digest(source(sha256="0" * 64), path)


def test_an_archive_of_an_unknown_kind_is_an_error_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.rar").touch()
    with pytest.raises(ValueError, match=r"a.rar: unknown suffix; must be a folder or end in"):
        digest.digest(source(), tmp_path / "a.rar")


def test_cifar10_is_pinned_and_mnist5k_is_its_package_s(tmp_path: Path) -> None:
    assert digest.digest(source("cifar10"), None) == f"md5:{cifar10.MD5}"
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(b"another")
    with pytest.raises(ValueError, match=rf"is md5:b32d73e5.* must be md5:{cifar10.MD5};"):
        digest.digest(source("cifar10"), path)
    write(tmp_path / "folder/cifar-10-batches-py/test_batch", "x")
    before = digest.digest(source("cifar10"), tmp_path / "folder")
    write(tmp_path / "folder/readme.html", "x")
    assert digest.digest(source("cifar10"), tmp_path / "folder") == before
    write(tmp_path / "folder/cifar-10-batches-py/data_batch_1", "x")
    assert digest.digest(source("cifar10"), tmp_path / "folder") != before
    assert digest.digest(source("mnist5k"), None) == digest.digest(source("mnist5k"), tmp_path)


@pytest.mark.parametrize("name", ["images", "cifar10", "mnist5k"])
def test_a_place_that_holds_nothing_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent: no such file or folder; correct data.path or P"):
        digest.digest(source(name), tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe: neither a file nor a folder; "):
        digest.digest(source(name), tmp_path / "pipe")


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "empty/train.txt", "x")
    with pytest.raises(ValueError, match=r"empty: no images of 'images' in it; correct data.path"):
        digest.digest(source(), tmp_path / "empty")


# The last run's images

LAST = Images("images", "sha256:ab", (45_000, 5_000, 10_000))


def test_without_a_path_the_last_run_s_images_stay() -> None:
    assert last_run.reused(source(), LAST) == "sha256:ab"
    assert last_run.told(Images("images", "sha256:ab"), LAST, None) == (
        "images (no path: the committed run's): images, sha256 ab: 45,000 training, 5,000 "
        "validation, 10,000 test images"
    )


@pytest.mark.parametrize("last", [None, Images("mnist5k", "sha256:ab", (1, 1, 1))])
def test_without_a_path_and_a_last_run_it_is_an_error(last: Images | None) -> None:
    with pytest.raises(ValueError, match=r"^data.path = null: 'images' needs a folder or archive;"):
        last_run.reused(source(), last)


def test_without_a_path_the_digest_asked_for_must_be_the_last_run_s() -> None:
    assert last_run.reused(source(sha256="a" * 64), Images("images", f"sha256:{'a' * 64}"))
    with pytest.raises(ValueError, match=r"^data.sha256 = b+: the last run's images are sha256:ab"):
        last_run.reused(source(sha256="b" * 64), LAST)


def test_a_line_says_which_images(tmp_path: Path) -> None:
    now = Images("images", "folder-sha256:" + "cd" * 32)
    assert last_run.told(now, None, tmp_path) == "images: images, folder-sha256 cdcdcdcdcdcd"
    told = last_run.told(now, LAST, tmp_path)
    assert told.startswith("images: images, folder-sha256 cdcdcdcdcdcd; the last run had images, ")
    assert last_run.told(LAST, LAST, tmp_path).startswith("images (as in the committed run): ")
    assert last_run.told(LAST, LAST, None).startswith("images (no path: the committed run's): ")
    last_run.DATASET.parent.mkdir()
    last_run.DATASET.touch()
    assert last_run.told(LAST, LAST, tmp_path).startswith("images (as in the last run): images, ")


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"name": "images"}'])
def test_a_record_that_names_no_images_is_none(text: str | None) -> None:
    if text is not None:
        write(last_run.RECORD, text)
    assert last_run.read() is None


@pytest.mark.parametrize("text", [None, "{", "[]", '{"name": "images"}'])
def test_a_source_without_a_digest_is_an_error(text: str | None) -> None:
    if text is not None:
        write(digest.SOURCE, text)
    with pytest.raises(ValueError, match=r"^data/source.json: has no digest; run `inv repro`$"):
        digest.recorded()


def test_a_home_that_is_nobody_s_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(place.ENVIRONMENT, "~no-such-user/images")
    with pytest.raises(ValueError, match=r"^~no-such-user/images: .*; correct data.path or POWTWO"):
        place.location(source())
