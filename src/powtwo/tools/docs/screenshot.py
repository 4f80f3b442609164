"""The picture of the report's first screen in README: `python -m powtwo.tools.docs.screenshot`.

A browser draws it, so its bytes depend on the fonts of a machine. The picture therefore carries
the md5 of the page that it shows, and `inv check` compares that with dvc.lock.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from powtwo.core import files
from powtwo.sidecar.one_line import one_line_errors

PAGE, PICTURE = Path("report/index.html"), Path("docs/report.png")
WIDTH, HEIGHT = 1280, 685  # CSS pixels: down to the first heading of the details
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


def take(root: Path = Path()) -> None:
    """Draw the first screen of the report.

    Raises:
        ValueError: where there is no report, or no browser.
    """
    page = (root / PAGE).resolve()
    if not page.is_file():
        raise ValueError(f"{PAGE}: no such file; make it with `inv repro`")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise ValueError(f"no browser; install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        size = f"--window-size={WIDTH},{HEIGHT}"
        command = [browser, *FLAGS, size, f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        about = PngInfo()
        about.add_text("report", hashlib.md5(page.read_bytes()).hexdigest())
        with Image.open(shot) as image, files.atomic(root / PICTURE) as path:
            image.convert("RGB").save(path, format="PNG", optimize=True, pnginfo=about)


def fault(root: Path) -> str:
    """Return what is wrong with the picture, nothing where it shows the report of dvc.lock."""
    lock = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))
    outs = lock["stages"]["compare"]["outs"]
    locked = next(out["md5"] for out in outs if out["path"] == PAGE.as_posix())
    if not (root / PICTURE).is_file():
        return f"{PICTURE.as_posix()}: no such file; run `inv docs --screenshot`"
    with Image.open(root / PICTURE) as image:
        shown = image.info.get("report")
    return "" if shown == locked else (
        f"{PICTURE.as_posix()}: shows another report than dvc.lock has; run `inv docs --screenshot`"
    )  # fmt: skip


if __name__ == "__main__":
    with one_line_errors("screenshot"):
        take()
