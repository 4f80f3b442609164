"""One file of a known size from the network, in bounded time and space."""

from __future__ import annotations

import asyncio
import ssl
import textwrap
from pathlib import Path

import aiohttp
import certifi
from tqdm import tqdm

DEADLINE = 3600  # seconds for a whole file
STALL = 60  # seconds for an answer to begin, and for each block
BLOCK = 2**20  # bytes; one in STALL seconds is the slowest server that is waited for


def fetch(url: str, path: Path, size: int) -> None:
    """Download `size` bytes, and never more, to a file.

    Raises:
        ValueError: where the server cannot be reached, refuses, breaks off, offers another size,
            or is too slow.
        OSError: where the file cannot be written.
    """
    try:
        asyncio.run(asyncio.wait_for(_fetch(url, path, size), DEADLINE))
    except TimeoutError:
        rule = f"{BLOCK:,} bytes in {STALL} s and the file in {DEADLINE} s"
        raise ValueError(f"{url}: too slow or silent; must give {rule}") from None
    except asyncio.IncompleteReadError:
        raise ValueError(f"{url}: broke off before {size:,} bytes had come") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        # Its text may quote what a server sent, at any length.
        reason = textwrap.shorten(getattr(error, "strerror", None) or str(error), 200)
        raise ValueError(f"{url}: {type(error).__name__}: {reason}") from error


async def _fetch(url: str, path: Path, size: int) -> None:
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())  # for a Python that finds no list of its own
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        raise_for_status=True,
        trust_env=True,  # for a proxy
    ) as session:
        async with asyncio.timeout(STALL):
            response = await session.get(url, ssl=trusted)
        async with response:
            if response.content_length not in (None, size):
                raise ValueError(f"{url}: offers {response.content_length:,} bytes, not {size:,}")
            await _write(response.content, path, size)


async def _write(stream: aiohttp.StreamReader, path: Path, size: int) -> None:
    progress = tqdm(desc=path.name, total=size, unit="B", unit_scale=True, disable=None)
    with path.open("wb") as file, progress:
        for start in range(0, size, BLOCK):
            async with asyncio.timeout(STALL):
                block = await stream.readexactly(min(BLOCK, size - start))
            file.write(block)
            progress.update(len(block))
