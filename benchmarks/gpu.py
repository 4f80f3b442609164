"""What `benchmarks/gpu.sh` runs: trainings, step profile, engines and tests on a GPU.

Each part is a process of its own, with a limit of time. One that fails is told in the JSON, and the
rest goes on. Both recipes run as the stage `train` does, start and compilation included; then, as
far as there is time, once more: compiled code comes from the cache, and the bytes must be the same.

    inv bench gpu -- ARCHIVE
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEEDED = {  # package to install, by the module that is imported
    "yaml": "pyyaml", "torchvision": "torchvision", "numpy": "numpy", "pydantic": "pydantic",
    "mlxtend": "mlxtend", "sklearn": "scikit-learn", "PIL": "pillow", "safetensors": "safetensors",
    "tqdm": "tqdm", "pytest": "pytest", "hypothesis": "hypothesis",
}  # fmt: skip
RECIPES = ("cifar10-jpeg-lab", "cifar10-jpeg")
SECONDS = 285.0  # for all
LEAST_SECONDS = 5.0  # in which a part can begin
GOAL_SECONDS = 20.0  # of each training
DEVICE = os.environ.get("POWTWO_GPU_DEVICE", "cuda")
EPOCHS = os.environ.get("POWTWO_GPU_EPOCHS")
Part = dict[str, Any]


class Clock:
    """The time that is left, and processes that are given some of it."""

    def __init__(self) -> None:
        """Begin to count."""
        self._end = time.monotonic() + SECONDS

    def run(self, command: list[str], folder: Path, limit: float, **env: str) -> tuple[Part, str]:
        """Run Python; return how it ended, and what it printed."""
        limit, started = min(limit, self._end - time.monotonic()), time.monotonic()
        if limit < LEAST_SECONDS:
            return {"ok": False, "error": "no time left"}, ""
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=os.environ | env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += f"\nstopped after {limit:.0f} s"
        part: Part = {
            "ok": process.returncode == 0, "seconds": round(time.monotonic() - started, 2)
        }  # fmt: skip
        sys.stderr.write(err)
        if lines := [line for line in err.splitlines() if line.strip()]:
            part["error" if process.returncode else "said"] = lines[-1][:300]
        return part, out


def main() -> int:
    """Run all parts, and print what came of them; return 1 where one failed."""
    report: dict[str, Any] = {"device": DEVICE, "goal_seconds": GOAL_SECONDS}
    try:
        if missing := [package for name, package in NEEDED.items() if find_spec(name) is None]:
            report["missing"] = missing
            print(f"missing: {' '.join(missing)}; gpu.sh says how to bring them", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(sys.argv[1]).resolve(), Path(folder), report)
    except Exception as error:  # the line of JSON comes whatever happens
        report["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(report, sort_keys=True))
    parts = [part for part in report.values() if isinstance(part, dict)]
    return int("error" in report or not all(part.get("ok", True) for part in parts))


def measure(archive: Path, folder: Path, report: dict[str, Any]) -> None:
    """Fill the report, part by part."""
    clock = Clock()

    def say(name: str, part: Part) -> None:
        report[name] = part
        print(f"{name}: {json.dumps(part)}", file=sys.stderr, flush=True)

    say("machine", of_json(clock, ["machine"], folder, 60))
    if DEVICE == "cuda" and report["machine"].get("gpu", DEVICE) is None:
        raise RuntimeError("PyTorch sees no GPU; POWTWO_GPU_DEVICE=cpu tries the script out")
    places = {recipe: workplace(folder / recipe, recipe) for recipe in RECIPES}
    first, *others = places.values()
    for stage in ("source", "download"):
        part, _ = clock.run([str(ROOT / f"src/{stage}.py")], first, 120, POWTWO_DATA=str(archive))
        say(stage, part)
        if not part["ok"]:
            raise RuntimeError(f"{stage} failed, and the other parts need its images")
    for other in others:
        (other / "data").symlink_to(first / "data")
    for recipe, place in places.items():
        say(f"train {recipe}", trained(clock, place))
    say("tests", tested(clock))
    engines = ["engines", "data/dataset.npz", DEVICE]
    say("engines", of_json(clock, engines, first, 60))
    for recipe, place in places.items():
        say(f"profile {recipe}", of_json(clock, ["profile", "params.yaml"], place, 60))
    for recipe, place in places.items():
        before, again = report[f"train {recipe}"], trained(clock, place)
        if again["ok"] and before["ok"]:
            again["same_bytes"] = again["sha256"] == before["sha256"]
        say(f"train {recipe} again", again)


def workplace(folder: Path, recipe: str) -> Path:
    """Make a folder with the recipe's params.yaml, in which stages can run."""
    import yaml  # noqa: PLC0415  # which may be missing

    folder.mkdir()
    files = ("params.yaml", "presets/mnist5k.yaml", f"presets/{recipe}.yaml")
    base, *overlays = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in files)
    for overlay in overlays:
        lay(overlay, base)
    base["data"]["sha256"] = None  # any archive will do
    base["train"]["device"] = DEVICE
    base["train"]["threads"] = min(os.cpu_count() or 1, 8)
    if EPOCHS:
        base["train"]["epochs"] = int(EPOCHS)
    (folder / "params.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    return folder


def lay(overlay: dict[str, Any], base: dict[str, Any]) -> None:
    """Put the overlay's values in the place of the base's."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            lay(value, base[key])
        else:
            base[key] = value


def trained(clock: Clock, place: Path) -> Part:
    """Run the stage `train`, and tell what its outputs say."""
    part, out = clock.run([str(ROOT / "src/train.py")], place, 130)
    sys.stderr.write("".join(out.splitlines(keepends=True)[-1:]))
    if part["ok"]:
        log = json.loads((place / "logs/train.json").read_text(encoding="utf-8"))
        metrics = json.loads((place / "metrics/train.json").read_text(encoding="utf-8"))
        counts = json.loads(
            ((place / "data").resolve().parent / "metrics/download.json").read_text("utf-8")
        )
        images = counts["train_images"] * metrics["epochs_run"]
        part |= {name: log[name] for name in ("steps", "precision", "gpu_peak_memory_mb")}
        part |= {name: metrics[name] for name in ("epochs_run", "best_epoch", "test_accuracy")}
        part["images_per_second"] = round(images / part["seconds"])
        part["epochs"] = out.count("epoch ")
        part["reaches_goal"] = part["seconds"] <= GOAL_SECONDS
        weights = (place / "models/float.safetensors").read_bytes()
        part["sha256"] = hashlib.sha256(weights).hexdigest()[:16]
    return part


def tested(clock: Clock) -> Part:
    """Run the tests that need a GPU; the conftests, which need more packages, are left out."""
    tests = ["tests/training/test_gpu.py", "tests/engine/test_gpu_engine.py"]
    options = ["-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "--tb=line"]
    part, out = clock.run([*options, *tests], ROOT, 90)
    sys.stderr.write(out)
    last = next((line for line in reversed(out.splitlines()) if " in " in line), "")
    part |= {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|skipped)", last)}
    failures = re.findall(r"^(?:FAILED|ERROR) .*", out, re.MULTILINE)
    return part | ({"failures": failures[:10]} if failures else {})


def of_json(clock: Clock, command: list[str], folder: Path, limit: float) -> Part:
    """Run a part of _gpu_parts.py, whose last line is JSON."""
    part, out = clock.run([str(ROOT / "benchmarks/_gpu_parts.py"), *command], folder, limit)
    return part | json.loads(out.splitlines()[-1]) if part["ok"] else part


if __name__ == "__main__":
    sys.exit(main())
