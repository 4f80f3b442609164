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

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def programs() -> tuple[str, str]:
    """Return the paths of the browser and its driver; skip, or in CI fail, without them."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    missing = "Chromium" if driver else "ChromeDriver" if browser else "Chromium and ChromeDriver"
    reason = f"{missing}: not found; on Debian, apt-get install chromium chromium-driver"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


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


# The contrast of every text with what lies behind it (WCAG 2.2, relative luminance and contrast
# ratio). Behind a text in HTML lies the nearest ancestor that has a background; behind one in a
# picture, the shapes that the browser finds at its center.
CONTRASTS = r"""
const rgba = text => {
  const parts = text.match(/[\d.]+/g).map(Number);
  return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
};
const over = (top, alpha, below) => top.map((value, i) => alpha * value + (1 - alpha) * below[i]);
const luminance = rgb => {
  const [r, g, b] = rgb.map(v => v / 255).map(v =>
    v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const behindHtml = element => {
  for (let node = element; node; node = node.parentElement) {
    const { rgb, alpha } = rgba(getComputedStyle(node).backgroundColor);
    if (alpha === 1) return rgb;
  }
  return [255, 255, 255];
};
const opacity = element => {
  let product = 1;
  for (let node = element; node && node.tagName !== "svg"; node = node.parentElement)
    product *= Number(getComputedStyle(node).opacity);
  return product;
};
const behindSvg = text => {
  const box = text.getBoundingClientRect();
  const x = box.x + box.width / 2, y = box.y + box.height / 2;
  const layers = [];
  for (const element of document.elementsFromPoint(x, y)) {
    if (element.tagName === "svg") break;
    const style = getComputedStyle(element);
    if (["text", "tspan"].includes(element.tagName) || !style.fill.startsWith("rgb")) continue;
    layers.push([rgba(style.fill).rgb, Number(style.fillOpacity) * opacity(element)]);
  }
  return layers.reverse().reduce(
    (below, [rgb, alpha]) => over(rgb, alpha, below), behindHtml(text.closest("svg")));
};
for (const details of document.querySelectorAll("details")) details.open = true;
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement;
  const hidden = !element.getClientRects().length;
  if (!node.data.trim() || ["SCRIPT", "STYLE"].includes(element.tagName) || hidden) continue;
  const svg = element.closest("svg"), style = getComputedStyle(element);
  const { rgb, alpha } = rgba(svg ? style.fill : style.color);
  const behind = svg ? behindSvg(element) : behindHtml(element);
  const ink = over(rgb, alpha * (svg ? opacity(element) : 1), behind);
  found.push([node.data.trim(), svg !== null, contrast(ink, behind)]);
}
return found;
"""
