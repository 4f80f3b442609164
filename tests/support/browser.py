"""A real headless browser: Chromium, driven through ChromeDriver."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from powtwo.tools.docs.screenshot import BROWSERS

CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def programs() -> tuple[str, str]:
    """Return the paths of the browser and its driver; skip, or in CI fail, without them."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        absent = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        absent("Chromium or ChromeDriver not found; on Debian, apt-get install chromium-driver")
    return browser, driver


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start a browser that remembers its console and its requests; nothing is downloaded."""
    binary, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield running
    finally:
        running.quit()


def show(running: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    """Open a page in a window of this width in light or dark; below 500 pixels, on a phone."""
    running.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    running.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    running.get(page.as_uri())


def requests(running: webdriver.Chrome) -> list[str]:
    """Return the addresses that pages asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in running.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
