"""CIFAR-10 from a disk, a mirror or the origin: a tiny archive, and a server on this machine."""

import dataclasses
import hashlib
import io
import pickle
import re
import tarfile
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from powtwo.dataset.images import TrainTestSplit
from powtwo.sources import cifar10
from powtwo.sources.cifar10 import Archive
from powtwo.sources.params import Source
from powtwo.sources.read import read_dataset
from powtwo.tools.torchvision_import import import_torchvision

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NAME = "cifar-10-python.tar.gz"
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 20, 3072), dtype=np.uint8)  # 20 a file
LABELS = [[(index + file) % 10 for index in range(20)] for file in range(6)]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def packed() -> dict[str, bytes]:
    """Return the content of each file."""
    batches = [{"data": x, "labels": y} for x, y in zip(PIXELS, LABELS, strict=True)]
    values = [*batches, {"label_names": list(CLASSES)}]
    contents = (pickle.dumps(value, protocol=2) for value in values)
    return dict(zip(cifar10.FILES, contents, strict=True))


@pytest.fixture(scope="module")
def content(packed) -> bytes:
    """Pack the files as the authors did."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, file in packed.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(file)
            archive.addfile(member, io.BytesIO(file))
    return buffer.getvalue()


@pytest.fixture
def archive(content, packed, monkeypatch) -> Archive:
    """Have the tiny archive taken for the real one; no place offers it yet."""
    monkeypatch.setattr(cifar10, "FILES", {name: md5(file) for name, file in packed.items()})
    return Archive(NAME, len(content), md5(content), ())


class Server(ThreadingHTTPServer):
    """Serves `pages` and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    """Answers with the page of that path, if there is one."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        # What is called short breaks off in the middle.
        self.wfile.write(page[: len(page) // 2] if "short" in self.path else page)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def source(sha256: str | None = None) -> Source:
    return Source(name="cifar10", sha256=sha256, path=None, validation=0.1)


def offered(archive: Archive, server: Server, *paths: str) -> Archive:
    return dataclasses.replace(archive, urls=tuple(map(server.url, paths)))


@pytest.mark.slow  # imports torch
def test_the_real_archive_is_described_as_torchvision_does():
    original = import_torchvision().datasets.CIFAR10
    assert (original.filename, original.tgz_md5) == (cifar10.ARCHIVE.name, cifar10.ARCHIVE.md5)
    assert cifar10.ARCHIVE.size == 170_498_071
    assert cifar10.ARCHIVE.urls[-1] == original.url
    assert original.base_folder == cifar10.FOLDER
    meta = (original.meta["filename"], original.meta["md5"])
    known = [*original.train_list, *original.test_list, meta]
    assert list(cifar10.FILES.items()) == list(map(tuple, known))


@pytest.mark.slow  # imports torch
@pytest.mark.usefixtures("archive")
def test_the_images_are_those_that_torchvision_reads(packed, tmp_path, monkeypatch):
    original = import_torchvision().datasets.CIFAR10
    known = list(map(list, cifar10.FILES.items()))
    monkeypatch.setattr(original, "train_list", known[:5])
    monkeypatch.setattr(original, "test_list", known[5:6])
    monkeypatch.setattr(original, "meta", original.meta | {"md5": known[6][1]})
    extract(packed, tmp_path / cifar10.FOLDER)
    dataset = cifar10.read(tmp_path)
    halves = ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test))
    for train, (x, y) in zip((True, False), halves, strict=True):
        expected = original(tmp_path, train=train)
        assert (x.transpose(0, 2, 3, 1) == expected.data).all()
        assert (y.tolist(), list(dataset.classes)) == (expected.targets, expected.classes)


def extract(files: dict[str, bytes], folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, file in files.items():
        (folder / name).write_bytes(file)


def check(split: TrainTestSplit) -> None:
    """Compare with what was packed, value by value."""
    assert (np.concatenate([split.x_train, split.x_test]) == PIXELS.reshape(-1, 3, 32, 32)).all()
    assert [*split.y_train, *split.y_test] == [label for labels in LABELS for label in labels]
    assert (len(split.x_train), split.classes) == (100, CLASSES)
    assert (split.x_train.dtype, split.y_train.dtype) == (np.uint8, np.int64)


def test_an_archive_on_the_disk_is_read_without_the_network(archive, content, server, tmp_path):
    path = tmp_path / NAME
    path.write_bytes(content)
    server.pages["/mirror"] = content
    assert offered(archive, server, "/mirror").locate(path, tmp_path / "raw") == path
    assert server.asked == []
    check(cifar10.read(path))
    assert cifar10.is_original(path)
    assert list(tmp_path.iterdir()) == [path]  # nothing was left beside it


def test_numpys_warning_of_old_pickles_is_passed_over(archive, content, tmp_path, monkeypatch):
    loads = pickle.loads

    def warn(*args, **options):  # as numpy 2.4.0 does of the real files
        warnings.warn("align=0", np.exceptions.VisibleDeprecationWarning, stacklevel=1)
        return loads(*args, **options)

    monkeypatch.setattr(pickle, "loads", warn)
    (tmp_path / NAME).write_bytes(content)
    check(cifar10.read(archive.locate(tmp_path / NAME, tmp_path)))


@pytest.mark.parametrize("base", ["cifar-10-batches-py", "renamed"])
def test_an_extracted_folder_will_do(archive, packed, tmp_path, base):
    folder = tmp_path / "place" / base
    extract(packed, folder)
    for place in [folder, folder.parent] if base == cifar10.FOLDER else [folder]:
        check(cifar10.read(archive.locate(place, tmp_path / "raw")))
        assert cifar10.is_original(place)
    assert not cifar10.is_original(tmp_path)


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_an_extracted_folder_is_checked(archive, packed, tmp_path, name):
    for other, file in packed.items():
        (tmp_path / other).write_bytes(file if other != name else file[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(
            ValueError, match=rf"^\S+: {name} of CIFAR-10 is missing or has another"
        ):
            cifar10.read(archive.locate(tmp_path, tmp_path / "raw"))
        (tmp_path / name).unlink(missing_ok=True)  # other bytes at first, then none


def test_a_local_archive_that_is_another_is_refused(archive, content, tmp_path):
    path = tmp_path / NAME
    for other in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(other)
        rule = rf"^{re.escape(str(path))}: {len(other):,} bytes with md5 {md5(other)}; .* again, or"
        with pytest.raises(ValueError, match=rule):
            archive.locate(path, tmp_path / "raw")
    path.write_bytes(content)
    wrong_size = dataclasses.replace(archive, size=archive.size + 1)
    with pytest.raises(ValueError, match=r"download it again"):
        wrong_size.locate(path, tmp_path / "raw")


@pytest.mark.parametrize("fault", ["/missing", "/other", "/short", "refused"])
def test_the_next_place_is_tried_until_one_gives_it(archive, content, server, tmp_path, fault):
    server.pages = {"/other": content[::-1], "/short": content, "/mirror": content, "/origin": b""}
    tried = offered(archive, server, fault, "/mirror", "/origin")
    if fault == "refused":  # port 9 of this machine discards, or is closed
        tried = dataclasses.replace(tried, urls=("http://127.0.0.1:9/x", *tried.urls[1:]))
    raw = tmp_path / "data" / "raw"
    assert tried.locate(None, raw).read_bytes() == content
    assert [item.name for item in raw.iterdir()] == [NAME]
    assert server.asked == ([] if fault == "refused" else [fault]) + ["/mirror"]


def test_a_download_is_kept_and_replaced_where_it_was_damaged(archive, content, server, tmp_path):
    server.pages["/mirror"] = content
    tried = offered(archive, server, "/mirror")
    path = tried.locate(None, tmp_path)
    assert tried.locate(None, tmp_path) == path
    assert server.asked == ["/mirror"]
    path.write_bytes(content[:100])
    assert tried.locate(None, tmp_path).read_bytes() == content


def test_where_all_places_fail_one_line_names_each_and_nothing_is_left(archive, server, tmp_path):
    server.pages = {"/other": b"something else", "/short": b"x" * archive.size}
    tried = offered(archive, server, "/missing", "/other", "/short")
    missing, other, short = map(re.escape, tried.urls)
    start = f"^data.name = 'cifar10': no place gave {re.escape(NAME)}; download it yourself "
    rule = rf"{start}.*{missing}: .*404.*; {other}: .*hash.*; {short}: .*\Z"
    with pytest.raises(ValueError, match=rule):
        tried.locate(None, tmp_path / "raw")
    assert list(tmp_path.glob("raw/*")) == []


def test_the_size_of_a_download_is_checked(archive, content, server, tmp_path):
    server.pages["/mirror"] = content
    wrong = dataclasses.replace(offered(archive, server, "/mirror"), size=archive.size + 1)
    with pytest.raises(ValueError, match=rf"no place gave .*has {archive.size + 1:,} with"):
        wrong.locate(None, tmp_path)


def test_a_download_becomes_a_data_set(archive, content, server, tmp_path, monkeypatch):
    server.pages["/mirror"] = content
    monkeypatch.setattr(cifar10, "ARCHIVE", offered(archive, server, "/mirror"))
    monkeypatch.chdir(tmp_path)
    dataset = read_dataset(source(sha256=hashlib.sha256(content).hexdigest()), None)
    assert (tmp_path / "data" / "raw" / NAME).exists()
    assert np.bincount(dataset.y_train).tolist() == [9] * 10
    assert np.bincount(dataset.y_validation).tolist() == [1] * 10
    assert dataset.classes == CLASSES
    with pytest.raises(ValueError, match=r"data.sha256 = 0+"):
        read_dataset(source(sha256="0" * 64), None)


def test_a_path_to_nothing_is_an_error_and_no_download(archive, server, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "ARCHIVE", offered(archive, server, "/mirror"))
    with pytest.raises(ValueError, match=r"absent: no such file or folder; correct data.path or"):
        read_dataset(source(), tmp_path / "absent")
    assert server.asked == []
