"""Other images are seen before DVC looks; the same ones run nothing, wherever they lie."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from clone import AFTER_TRAINING, Clone, tiny_run

from powtwo.sources.digest import SETTLED

pytestmark = pytest.mark.pipeline

ALL = sorted(["download", "train", *AFTER_TRAINING])


@pytest.fixture
def clone(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return tiny_run(tmp_path_factory).copy(tmp_path / "copy")


def of_git(clone: Clone, *arguments: str) -> None:
    clone.run("git", "-c", "user.name=x", "-c", "user.email=x", *arguments).check_returncode()


def test_images_added_are_read_and_images_taken_back_are_remembered(clone: Clone) -> None:
    before = clone.bytes_of("metrics")
    images = clone.folder / "images/train/disc"
    shutil.copy(images / "00.png", images / "99.png")
    assert clone.repro() == ALL
    assert "; the last run had images, folder-sha256 " in clone.output
    assert clone.bytes_of("metrics") != before
    (images / "99.png").unlink()
    clone.repro()
    assert clone.bytes_of("metrics") == before
    (images / ".DS_Store").touch()
    assert clone.repro() == []


def test_a_path_that_is_not_there_ends_the_run_and_loses_nothing(clone: Clone) -> None:
    before = clone.bytes_of("metrics", "models", "plots", "report")
    clone.environment["POWTWO_DATA"] = "/no/such/place"
    assert clone.repro(fails=True) == []
    assert "\nsource: /no/such/place: no such file or folder; correct data.path" in clone.output
    assert clone.bytes_of("metrics", "models", "plots", "report") == before


def test_without_a_path_the_images_of_the_last_run_are_reused_and_named(clone: Clone) -> None:
    clone.environment["POWTWO_DATA"] = ""
    assert clone.repro() == []
    assert "\nimages (no path: the last run's): images, folder-sha256 " in clone.output
    assert ": 54 training, 18 validation, 24 test images\n" in clone.output
    (clone.root / "metrics/download.json").unlink()  # what named them
    assert clone.repro(fails=True) == []
    assert "\nsource: data.path = null: 'images' needs a folder or archive;" in clone.output


def test_images_that_change_between_the_two_stages_are_refused(clone: Clone) -> None:
    (clone.folder / "images/train/disc/00.png").unlink()
    done = clone.run("dvc", "repro", "--single-item", "--force", "download")
    assert done.returncode
    assert (
        "download: data/source.json: the images have changed since; run `inv repro`" in done.stderr
    )


def test_nothing_recorded_says_where_the_images_lie(clone: Clone) -> None:
    if not (clone.root / ".dvc/tmp/source-digests.json").exists():  # the images were too new
        time.sleep(SETTLED + 1)
        assert clone.repro() == []
    source = json.loads((clone.root / "data/source.json").read_text(encoding="utf-8"))
    assert list(source) == ["digest", "name"]
    assert (
        json.loads((clone.root / "metrics/download.json").read_text())["source"] == source["digest"]
    )
    for name in ("data/source.json", "dvc.lock", ".dvc/tmp/source-digests.json"):
        assert str(clone.folder.parent) not in (clone.root / name).read_text(encoding="utf-8")


def test_status_looks_at_the_images(clone: Clone) -> None:
    def status() -> str:
        done = clone.run("python", "-m", "powtwo.tools.status")
        assert done.returncode == 0, done.stderr
        return done.stdout

    clone.environment["PYTHONPATH"] = str(clone.root / "src")
    assert status() == "every stage is up to date\n"
    (clone.folder / "images/train/disc/00.png").unlink()
    clone.edit_params(lambda values: values["evaluate"].update(batch_size=7))
    lines = status().splitlines()
    assert "evaluate-float: params.yaml evaluate.batch_size: modified" in lines
    assert lines[-1].startswith("download: other images: folder-sha256:")


def test_a_clone_with_the_cache_runs_source_alone(clone: Clone, tmp_path: Path) -> None:
    """As after `dvc pull`: metrics and lock are of Git, all else is of the cache."""
    of_git(clone, "add", "--all")
    of_git(clone, "commit", "--quiet", "-m", "run")
    clone.run("git", "clone", "--quiet", ".", str(tmp_path / "new/clone")).check_returncode()
    new = Clone(tmp_path / "new")
    shutil.copytree(clone.root / ".dvc/cache", new.root / ".dvc/cache")
    new.environment["POWTWO_DATA"] = ""
    assert new.run("dvc", "checkout").returncode == 0
    assert new.repro() == []


def test_experiments_see_other_images_and_run_without_a_scheme(clone: Clone) -> None:
    of_git(clone, "add", "--all")
    of_git(clone, "commit", "--quiet", "-m", "run")
    done = clone.run("dvc", "exp", "run", "-S", "~schemes.minmax-ceil")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Running stage 'compare'" in done.stdout
    line = "left out, as params.yaml has no such scheme: minmax-ceil; `inv prune` removes them"
    assert line in done.stdout
    others = shutil.copytree(clone.folder / "images", clone.folder / "others")
    (others / "train/disc/00.png").unlink()
    clone.environment["POWTWO_DATA"] = ""
    done = clone.run("dvc", "exp", "run", "--temp", "-S", f"data.path={others}", "download")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Running stage 'download'" in done.stdout


def test_a_removed_scheme_runs_compare_alone(clone: Clone) -> None:
    clone.edit_params(lambda values: values["schemes"].pop("minmax-ceil"))
    assert clone.repro() == ["compare"]
    assert "no such scheme: minmax-ceil" in clone.output
    assert clone.repro() == []


SYSTEM_FILES = (".DS_Store", "._lab.json", "Thumbs.db", "desktop.ini", "Icon\r", "__MACOSX/a",
                ".ipynb_checkpoints/a", ".writing-abc/a")  # fmt: skip
TRACKED = ("metrics/convert", "metrics/evaluate", "metrics/energy", "plots/layers", "plots",
           "plots/energy", "models/integer", "exports/lab", "data", "src",
           "src/powtwo/report")  # fmt: skip


def test_files_of_the_system_matter_to_neither_git_nor_dvc_nor_a_stage(clone: Clone) -> None:
    of_git(clone, "add", "--all")
    of_git(clone, "commit", "--quiet", "-m", "run")
    for folder in TRACKED:
        for name in SYSTEM_FILES:
            path = clone.root / folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
    assert clone.run("git", "status", "--porcelain", "--untracked-files=all").stdout == ""
    assert json.loads(clone.run("dvc", "status", "--json").stdout) == {"source": ["always changed"]}
    assert clone.repro() == []
    clone.edit("src/powtwo/report/results.py")
    assert clone.repro() == ["compare"]
