"""Folders and archives: what is read of them, and each way in which they can be wrong."""

import gzip
import io
import lzma
import os
import socket
import stat
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import (
    SUFFIXES,
    Files,
    add,
    append,
    class_files,
    encoded,
    fails,
    pack,
    png,
)
from PIL import Image

from powtwo.sources import archives, class_folders
from powtwo.sources.params import Source
from powtwo.sources.read import read_dataset

WHOLE = class_files()


def same_as_the_plain_folder(path: Path, files: Files) -> bool:
    """Read an archive and, beside it, its files in a folder."""
    plain = class_folders.read(pack(path.parent / "plain", files))
    return all(np.array_equal(*pair) for pair in zip(class_folders.read(path), plain, strict=True))


# What is read


@pytest.mark.parametrize("suffix", [".tgz", ".tar.bz2", ".tbz2", ".tbz", ".txz", ".TGZ"])
def test_the_short_suffixes_of_a_tar_are_read(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix.lower()}", files).rename(tmp_path / f"images{suffix}")
    assert same_as_the_plain_folder(path, files)


def test_a_zip_may_have_backslashes(files, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train\\a\\", b"")
        for name, content in files.items():
            archive.writestr(name.replace("/", "\\"), content)
    assert same_as_the_plain_folder(path, files)


def test_a_folder_may_hold_links_to_files_and_folders(files, tmp_path):
    folder = pack(tmp_path / "images", files)
    for name in ("train/a/x.png", "test/Ü"):
        away = tmp_path / name.replace("/", "-")
        (folder / name).rename(away)
        (folder / name).symlink_to(away)
    assert same_as_the_plain_folder(folder, files)


# What is refused


CLIMBING = ["../x.png", "train/../../x.png", "/etc/x.png", "C:/x.png", "train\\..\\..\\x.png"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", [*CLIMBING, "train/a/../../../x.png"])
def test_a_member_that_climbs_out_is_refused(files, tmp_path, suffix, name):
    path = pack(tmp_path / f"images{suffix}", files | {name: png()})
    shown = name.replace("\\", "/") if suffix == ".zip" else name
    fails(path, f"{shown}: an absolute path, or one with '..', leads out of the archive; ")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(files, tmp_path, kind):
    path = pack(tmp_path / "images.tar", files)
    append(path, "train/a/z.png", type=kind, linkname="/etc/passwd")
    fails(path, "train/a/z.png: a link, FIFO or device; put the file itself in its place")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_archive_is_refused_wherever_it_was_cut(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix}", files)
    whole = path.read_bytes()
    # The blocks of zeros at the end of a plain tar carry nothing, save the first.
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512 if suffix == ".tar" else len(whole)
    step = 512 if suffix == ".tar" else max(1, end // 40)
    for length in [*range(0, end, step), end - 100, end - 1]:
        path.write_bytes(whole[:length])
        fails(path, "truncated or broken (")


def test_a_tar_with_a_broken_header_is_refused(files, tmp_path):
    path = pack(tmp_path / "images.tar", files)
    content = bytearray(path.read_bytes())
    last = max(content.rfind(name.encode()) for name in files)
    content[last] ^= 1
    path.write_bytes(content)
    fails(path, "truncated or broken (bad checksum)")


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".txz"])
def test_tars_that_were_joined_are_refused(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix}", files)
    path.write_bytes(path.read_bytes() * 2)  # tarfile would read the first alone
    fails(path, "truncated or broken (more follows its end, as of tars that were joined); ")


def test_zips_that_were_joined_are_refused(files, tmp_path):
    path = pack(tmp_path / "images.zip", files)
    for before in (path.read_bytes(), b"x" * 100):  # zipfile would read the last alone
        joined = tmp_path / f"joined{len(before)}.zip"
        joined.write_bytes(before + path.read_bytes())
        fails(joined, "truncated or broken (more stands before its first file, as of zips that ")


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_a_damaged_checksum_is_noticed(files, tmp_path, suffix, compress):
    plain = pack(tmp_path / "images.tar", files).read_bytes()
    content = bytearray(compress(plain))
    content[-6 if suffix == "gz" else -40] ^= 255
    path = tmp_path / f"images.tar.{suffix}"
    path.write_bytes(content)
    fails(path, "truncated or broken (")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".zip"])
def test_damage_anywhere_is_an_error_of_one_line(files, tmp_path, suffix):
    image = Image.open(io.BytesIO(png())).resize((400, 300))
    files["train/a/big.bmp"] = encoded(image, "BMP")  # worth compressing
    path = pack(tmp_path / f"images{suffix}", files)
    whole = path.read_bytes()
    for start in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:start] + b"\xff" * 64 + whole[start + 64 :])
        fails(path, "")


def test_an_encrypted_zip_is_refused(files, tmp_path):
    path = pack(tmp_path / "images.zip", files)
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\1\2") + 8] |= 1  # the flag in the directory's first entry
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"images.zip: \S+.*: encrypted; pack it without"):
        class_folders.read(path)


@pytest.mark.parametrize("suffix", [".rar", ".tar.zst", ".gz", ".7z", ".npz"])
def test_another_suffix_is_refused(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(b"x")
    known = ".tar, .tar.gz, .tgz, .tar.bz2, .tbz2, .tbz, .tar.xz, .txz, .zip"
    remedy = "unpack it (zstd -d, 7z x, ...) and give what comes out"
    fails(path, f"unknown suffix; must be a folder or end in one of {known}; {remedy}")


FAULT = "a link, FIFO or device; put the file itself in its place"


@pytest.mark.parametrize("place", ["train/a/odd.png", "train/odd", "train/a/b/odd.png"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("absent")])
def test_a_fifo_or_dangling_link_in_a_folder_is_named(files, tmp_path, place, make):
    folder = pack(tmp_path / "images", files)
    (folder / place).parent.mkdir(exist_ok=True)
    make(folder / place)
    name = "train/a/b" if "b" in place else place
    fails(folder, f"{name}: {'lies too deep' if name.endswith('b') else FAULT}")


def test_a_socket_or_device_in_a_folder_is_named(files, tmp_path, monkeypatch):
    folder = pack(tmp_path / "images", files)
    monkeypatch.chdir(folder)  # an address has 100 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("train/a/odd.png")
        fails(folder, f"train/a/odd.png: {FAULT}")
    (folder / "train/a/odd.png").unlink()
    (folder / "train/a/odd.png").symlink_to("/dev/zero")
    fails(folder, f"train/a/odd.png: {FAULT}")


def test_what_is_in_no_class_may_be_odd(files, tmp_path):
    folder = pack(tmp_path / "images", files)
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "train/a/.pipe")
    assert class_folders.read(folder).y_train.tolist() == [0, 0, 1, 1, 1, 2]


def test_a_link_in_a_zip_is_refused(files, tmp_path):
    path = pack(tmp_path / "images.zip", files)
    link = zipfile.ZipInfo("train/a/z.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    fails(path, f"train/a/z.png: {FAULT}")


@pytest.mark.parametrize("name", ["images", "cifar10"])
@pytest.mark.parametrize("sha256", ["0" * 64, None])
@pytest.mark.parametrize("file", ["images.tar", "cifar-10-python.tar.gz"])
def test_a_fifo_for_an_archive_is_refused_at_once(tmp_path, name, sha256, file):
    os.mkfifo(tmp_path / file)
    source = Source(name=name, sha256=sha256, path=None, validation=0.1)
    rule = rf"{file}: neither a file nor a folder; correct data.path or POWTWO_DATA"
    with pytest.raises(ValueError, match=rule):
        read_dataset(source, tmp_path / file)


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_a_file_larger_than_any_image_is_not_read(files, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 5000)
    path = pack(tmp_path / f"images{suffix}", files | {"train/a/z.png": bytes(5001)})
    fails(path, "train/a/z.png: of 5,001 bytes, more than 5,000; make it smaller or remove it")


@pytest.mark.parametrize("plain", ["test/Ü/0.png", "train/a/é.png"])
def test_a_zip_with_names_in_no_stated_encoding_is_refused(files, tmp_path, plain):
    files = {name: files[name] for name in files if name.isascii()} | {plain: png()}
    path = pack(tmp_path / "images.zip", files)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(plain)
        starts = (member.header_offset + 6, path.read_bytes().rindex(plain.encode()) - 46 + 8)
    content = bytearray(path.read_bytes())
    for start in starts:  # the flags in the member's own header and in the directory
        content[start + 1] &= 0xF7
    path.write_bytes(content)
    shown = plain.encode().decode("cp437")
    fails(path, f"{shown}: a name in no stated encoding; pack it with `python -m zipfile -c`, or")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [2**62, 2**40, 2**21, -512])
def test_a_tar_header_of_any_size_is_refused_without_reading_it(files, tmp_path, kind, size):
    path = tmp_path / "images.tar"
    header = tarfile.TarInfo("odd")
    header.type, header.size = kind, size
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + pack(path, files).read_bytes())
    fails(path, f"truncated or broken (a header of {size:,} bytes)")


@pytest.mark.parametrize("size", [2**62, -512])
@pytest.mark.parametrize("name", ["train/a/z.png", "notes.txt"])
@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_member_of_any_size_is_refused(tmp_path, name, size, format_):
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w", format=format_) as archive:
        for key, content in WHOLE.items():
            add(archive, key, content)
        member = tarfile.TarInfo(name)
        if format_ == tarfile.PAX_FORMAT:
            member.pax_headers = {"size": str(size)}
        else:
            member.size = size
        archive.fileobj.write(member.tobuf(format_))
        archive.offset = archive.fileobj.tell()
    fails(path, "")


def test_a_tar_bomb_of_a_long_name_is_not_unpacked(tmp_path):
    path = tmp_path / "images.tgz"
    header = tarfile.TarInfo("odd")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**33
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(2**20))
    fails(path, "truncated or broken (a header of 8,589,934,592 bytes)")


@pytest.mark.parametrize("suffix", [".tar", ".zip", ".tgz"])
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_whole(suffix, data):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pack(Path(folder) / f"images{suffix}", WHOLE)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            damaged = class_folders.read(path)
        except ValueError:
            return
        whole = class_folders.read(pack(Path(folder) / "whole", WHOLE))
        assert all(np.array_equal(*pair) for pair in zip(damaged, whole, strict=True))
