"""Downloads from a server on this machine that is slow, silent, endless or wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from powtwo.sources import fetch

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 16 + b"end"  # four blocks and a bit
SIZE = len(CONTENT)
BLOCK = 1024


class Handler(BaseHTTPRequestHandler):
    """Answers as its path says, until the server closes or the client does."""

    def do_GET(self) -> None:
        try:
            getattr(self, self.path.strip("/"))()
        except OSError:  # the client has gone, as it should
            self.server.gone.set()

    def head(self, length: int | None = SIZE, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def trickle(self, data: bytes) -> None:
        for byte in data:
            if self.server.closing.wait(0.02):
                return
            self.wfile.write(bytes([byte]))

    def good(self) -> None:
        self.head()
        self.wfile.write(CONTENT)

    def unsized(self) -> None:
        self.head(None)
        self.wfile.write(CONTENT)

    def gzipped(self) -> None:  # as servers say of any .gz
        self.head(**{"Content-Encoding": "gzip"})
        self.wfile.write(CONTENT)

    def moved(self) -> None:
        self.head(0, 302, Location="/good")

    def circle(self) -> None:
        self.head(0, 302, Location="/circle")

    def missing(self) -> None:
        self.head(0, 404)

    def trickles(self) -> None:
        self.head()
        self.trickle(CONTENT)

    def trickles_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.trickle(b"X-Slow: 1\r\n" * 1000)

    def silent(self) -> None:
        self.server.closing.wait(60)

    def stalls(self) -> None:
        self.head()
        self.wfile.write(CONTENT[:-1])
        self.server.closing.wait(60)

    def breaks_off(self) -> None:
        self.head()
        self.wfile.write(CONTENT[:-1])

    def breaks_off_unsized(self) -> None:
        self.head(None)
        self.wfile.write(CONTENT[:-1])

    def larger(self) -> None:
        self.head(SIZE + 1)
        self.wfile.write(CONTENT + b"x")

    def goes_on(self) -> None:
        self.head()
        self.endless_body()

    def smaller(self) -> None:
        self.head(SIZE - 1)
        self.wfile.write(CONTENT[:-1])

    def endless(self) -> None:
        self.head(None)
        self.wfile.write(CONTENT)
        self.endless_body()

    def endless_body(self) -> None:
        while not self.server.closing.is_set():
            self.wfile.write(CONTENT * 16)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    """Start the server, and have no patience."""
    monkeypatch.setattr(fetch, "BLOCK", BLOCK)
    monkeypatch.setattr(fetch, "STALL", 0.5)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.closing, server.gone = threading.Event(), threading.Event()
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", ["good", "unsized", "gzipped", "moved", "endless"])
def test_the_bytes_are_those_of_the_page_up_to_the_size(address, tmp_path, page):
    fetch.fetch(f"{address}/{page}", tmp_path / "file", SIZE)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("missing", "ClientResponseError: 404"),
        ("circle", "TooManyRedirects: "),
        ("trickles", "too slow or silent; must give "),
        ("trickles_headers", "too slow or silent; must give "),
        ("silent", "too slow or silent; must give "),
        ("stalls", "too slow or silent; must give "),
        ("breaks_off", "ClientPayloadError: "),
        ("breaks_off_unsized", "broke off before 4,099 bytes had come"),
        ("larger", "offers 4,100 bytes, not 4,099"),
        ("smaller", "offers 4,098 bytes, not 4,099"),
    ],
)
def test_a_server_that_does_not_give_the_file_is_left_in_time(address, tmp_path, page, reason):
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"^{address}/{page}: {reason}.*\Z"):
        fetch.fetch(f"{address}/{page}", tmp_path / "file", SIZE)
    assert time.monotonic() - start < 10  # a trickle of all bytes would last 80 s
    assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size <= SIZE


def test_a_server_that_goes_on_after_its_end_is_cut_off(address, tmp_path):
    with suppress(ValueError):  # whether it is noticed is a matter of time
        fetch.fetch(f"{address}/goes_on", tmp_path / "file", SIZE)
        assert (tmp_path / "file").read_bytes() == CONTENT
    assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size <= SIZE


def test_there_is_a_deadline_over_all(address, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "STALL", 60)
    monkeypatch.setattr(fetch, "DEADLINE", 0.5)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"too slow or silent; must give .* the file in 0.5 s"):
        fetch.fetch(f"{address}/trickles", tmp_path / "file", SIZE)
    assert time.monotonic() - start < 10


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^http://127.0.0.1:9/x: ClientConnectorError: Connect"):
        fetch.fetch("http://127.0.0.1:9/x", tmp_path / "file", SIZE)


def test_a_disk_that_cannot_be_written_is_no_fault_of_the_server(address, tmp_path):
    with pytest.raises(FileNotFoundError):
        fetch.fetch(f"{address}/good", tmp_path / "absent/file", SIZE)


KILLED = """
import sys
from pathlib import Path
from powtwo.sidecar.one_line import one_line_errors
from powtwo.sources import cifar10, fetch
cifar10.URLS, cifar10.SIZE, fetch.BLOCK = (sys.argv[1],), 4099, 1024
with one_line_errors("download"):
    cifar10.locate(None, Path("raw"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_download_that_is_ended_leaves_nothing_or_what_is_known_for_a_leftover(
    address, tmp_path, number
):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, f"{address}/stalls"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("raw/.writing-*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in errors
    left = [path.name[:9] for path in (tmp_path / "raw").iterdir()]
    assert left == ([".writing-"] if number == signal.SIGKILL else [])
