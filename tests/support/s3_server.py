"""An S3 server on this machine, and a DVC that speaks S3, in an environment of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from closure import ROOT

ENVIRONMENT = Path(os.environ.get("POWTWO_S3", ROOT / ".venv-s3"))
PYTHON = ENVIRONMENT / "bin/python"
HOW = "make it as tests/data/s3.txt says, or name one by POWTWO_S3"
needs_s3 = pytest.mark.skipif(
    not PYTHON.is_file(), reason=f"{PYTHON}: no dvc-s3 and moto here; {HOW}"
)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server(bucket: str) -> Iterator[str]:
    """Yield the URL of a server that has an empty bucket, as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _make_bucket(f"{url}/{bucket}", server)
        yield url
    finally:
        server.kill()
        server.wait()


def _make_bucket(url: str, server: subprocess.Popen[bytes]) -> None:
    """Make a bucket as soon as the server answers, which may take a while."""
    for _ in range(600):
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10).close()
            return
        except urllib.error.URLError:
            assert server.poll() is None, "moto.server has ended"
            time.sleep(0.1)
    raise TimeoutError(url)
