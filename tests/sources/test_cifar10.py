"""CIFAR-10 from a disk, a mirror or the origin: a tiny archive, and a server on this machine."""

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
from powtwo.sources import cifar10, fetch
from powtwo.sources.params import Source
from powtwo.sources.read import read_dataset
from powtwo.tools.torchvision_import import import_torchvision

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
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


@pytest.fixture
def content(packed, monkeypatch) -> bytes:
    """Pack the files as the authors did, and have that taken for the real archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, file in packed.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(file)
            archive.addfile(member, io.BytesIO(file))
    monkeypatch.setattr(cifar10, "FILES", {name: md5(file) for name, file in packed.items()})
    monkeypatch.setattr(cifar10, "MD5", md5(buffer.getvalue()))
    monkeypatch.setattr(cifar10, "SIZE", len(buffer.getvalue()))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `pages` and remembers what was asked for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = dict.fromkeys(("/mirror", "/short", "/stall"), content)
        self.pages |= {"/other": content[::-1], "/larger": content + b"x", "/smaller": content[1:]}
        self.closing = threading.Event()
        self.asked: list[str] = []

    def urls(self, *paths: str) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{self.server_port}{path}" for path in paths)


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
        # What is called short breaks off in the middle, a stall stays there.
        halved = self.path in ("/short", "/stall")
        self.wfile.write(page[: len(page) // 2] if halved else page)
        if self.path == "/stall":
            self.server.closing.wait(60)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server(content, monkeypatch) -> Iterator[Server]:
    """Have a server on this machine be the only place that offers the archive."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(cifar10, "URLS", server.urls("/mirror"))
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def source(sha256: str | None = None) -> Source:
    return Source(name="cifar10", sha256=sha256, path=None, validation=0.1)


@pytest.mark.slow  # imports torch
def test_the_real_archive_is_described_as_torchvision_does():
    original = import_torchvision().datasets.CIFAR10
    assert (original.filename, original.tgz_md5) == (cifar10.NAME, cifar10.MD5)
    assert (original.url, original.base_folder) == (cifar10.URLS[-1], cifar10.FOLDER)
    meta = (original.meta["filename"], original.meta["md5"])
    known = [*original.train_list, *original.test_list, meta]
    assert list(cifar10.FILES.items()) == list(map(tuple, known))


@pytest.mark.slow  # imports torch
@pytest.mark.usefixtures("content")
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


def test_an_archive_on_the_disk_is_read_without_the_network(content, server, tmp_path):
    path = tmp_path / cifar10.NAME
    path.write_bytes(content)
    assert cifar10.locate(path, tmp_path / "raw") == path
    assert server.asked == []
    check(cifar10.read(path))
    assert cifar10.is_original(path)
    assert list(tmp_path.iterdir()) == [path]  # nothing was left beside it


@pytest.mark.usefixtures("content")
def test_numpys_warning_of_old_pickles_is_passed_over(packed, tmp_path, monkeypatch):
    loads = pickle.loads

    def warn(*args, **options):  # as numpy 2.4.0 does of the real files
        warnings.warn("align=0", np.exceptions.VisibleDeprecationWarning, stacklevel=1)
        return loads(*args, **options)

    monkeypatch.setattr(pickle, "loads", warn)
    extract(packed, tmp_path / "here")
    check(cifar10.read(tmp_path / "here"))


@pytest.mark.usefixtures("content")
@pytest.mark.parametrize("base", ["cifar-10-batches-py", "renamed"])
def test_an_extracted_folder_will_do(packed, tmp_path, base):
    folder = tmp_path / "place" / base
    extract(packed, folder)
    for place in [folder, folder.parent] if base == cifar10.FOLDER else [folder]:
        check(cifar10.read(cifar10.locate(place, tmp_path / "raw")))
        assert cifar10.is_original(place)
    assert not cifar10.is_original(tmp_path)


@pytest.mark.usefixtures("content")
@pytest.mark.parametrize("other", [b"other", None])
@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_an_extracted_folder_is_checked(packed, tmp_path, name, other):
    files = {key: file for key, file in packed.items() if key != name}
    extract(files if other is None else files | {name: other}, tmp_path / "here")
    with pytest.raises(ValueError, match=rf"^\S+: {name} of CIFAR-10 is missing or has another"):
        cifar10.read(tmp_path / "here")


def test_a_local_archive_that_is_another_is_refused(content, tmp_path):
    path = tmp_path / cifar10.NAME
    for other in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(other)
        rule = rf"^{re.escape(str(path))}: md5 is {md5(other)}; .* download it again, or"
        with pytest.raises(ValueError, match=rule):
            cifar10.locate(path, tmp_path / "raw")


@pytest.mark.parametrize(
    "fault", ["/missing", "/other", "/short", "/stall", "/larger", "/smaller", "refused"]
)
def test_the_next_place_is_tried_until_one_gives_it(content, server, tmp_path, monkeypatch, fault):
    if fault == "/stall":
        monkeypatch.setattr(fetch, "STALL", 0.5)
    first = server.urls(fault)
    if fault == "refused":  # port 9 of this machine discards, or is closed
        first = ("http://127.0.0.1:9/x",)
    monkeypatch.setattr(cifar10, "URLS", first + server.urls("/mirror", "/origin"))
    raw = tmp_path / "data" / "raw"
    assert cifar10.locate(None, raw).read_bytes() == content
    assert [item.name for item in raw.iterdir()] == [cifar10.NAME]
    assert server.asked == ([] if fault == "refused" else [fault]) + ["/mirror"]


def test_a_download_is_kept_and_replaced_where_it_was_damaged(content, server, tmp_path):
    path = cifar10.locate(None, tmp_path)
    assert cifar10.locate(None, tmp_path) == path
    assert server.asked == ["/mirror"]
    path.write_bytes(content[:100])
    assert cifar10.locate(None, tmp_path).read_bytes() == content


def test_where_all_places_fail_one_line_names_each_and_nothing_is_left(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(cifar10, "URLS", server.urls("/missing", "/other", "/short"))
    missing, other, short = map(re.escape, cifar10.URLS)
    start = f"^data.name = 'cifar10': no place gave {re.escape(cifar10.NAME)}; download it yourself"
    rule = rf"{start}.*{missing}: .*404.*; {other}: gave other bytes, .*; {short}: .*\Z"
    with pytest.raises(ValueError, match=rule):
        cifar10.locate(None, tmp_path / "raw")
    assert list(tmp_path.glob("raw/*")) == []


@pytest.mark.usefixtures("server")
def test_a_download_becomes_a_data_set(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = read_dataset(source(sha256=hashlib.sha256(content).hexdigest()), None)
    assert (tmp_path / "data" / "raw" / cifar10.NAME).exists()
    assert np.bincount(dataset.y_train).tolist() == [9] * 10
    assert np.bincount(dataset.y_validation).tolist() == [1] * 10
    assert dataset.classes == CLASSES
    with pytest.raises(ValueError, match=r"data.sha256 = 0+"):
        read_dataset(source(sha256="0" * 64), None)


def test_a_path_to_nothing_is_an_error_and_no_download(server, tmp_path):
    with pytest.raises(ValueError, match=r"absent: no such file or folder; correct data.path or"):
        read_dataset(source(), tmp_path / "absent")
    assert server.asked == []
