"""What DVC compares is few: its tables show each scheme on a terminal of 120 columns."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from pathlib import Path

import metrics_tree
import pytest
import yaml
from clone import PARAMS, SCHEMES, Clone, tiny_run
from closure import ROOT
from report_page import run_compare

from powtwo.core import files

WIDTH = 120
DEFAULT = list(yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["schemes"])
AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")

# Of each file that others rely on, every key.
KEYS = {
    "download": "name source train_images validation_images test_images classes sha256",
    "train": "parameters size_mb epochs_run best_epoch train_loss train_accuracy validation_loss "
             "validation_accuracy test_loss test_accuracy generalization_gap",
    "convert/lab": "size_mb min_shift max_shift accumulator_bits clipped_weights moved_exponents "
    "restricted_weights",
    "evaluate/lab": "test_images float_accuracy accuracy drop_points agreement gained lost p_value "
                    "min_sqnr_db",
    "energy/lab": "float_uj integer_uj ratio ratio_gated_dense ratio_gated_gated ratio_with_sram "
                  "last_float_pj last_integer_pj",
}  # fmt: skip


def commit(clone: Clone) -> None:
    for command in (["init", "--quiet"], ["add", "--all"], [*AUTHOR, "commit", "--message", "a"]):
        clone.run("git", *command).check_returncode()
    for key in ("user.name", "user.email"):
        clone.run("git", "config", key, "t")
    clone.environment |= {"COLUMNS": str(WIDTH), "LINES": "50"}


def printed(clone: Clone, *command: str) -> str:
    done = clone.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def table(clone: Clone, *options: str) -> list[list[str]]:
    """Return the cells of `dvc exp show`, the head first."""
    return list(csv.reader(io.StringIO(printed(clone, "dvc", "exp", "show", "--csv", *options))))


def lines(clone: Clone, *command: str) -> list[str]:
    """Return the lines of a table that fits the terminal."""
    text = printed(clone, *command).splitlines()
    assert max(map(len, text)) <= WIDTH
    assert "…" not in "".join(text)
    return text


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A run of the default schemes and an experiment of others, without what made them."""
    clone = Clone(tmp_path_factory.mktemp("default"))
    for name in ("dvc.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "tasks.py"):
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone.root / name)
    shutil.copytree(ROOT / "src", clone.root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for recorded in (("lab", "minmax-ceil", "shift"), ("shift", "lab", "minmax-ceil")):
        names = {name: recorded[index % 3] for index, name in enumerate(DEFAULT)}
        metrics_tree.write(clone.root, names)
        run_compare(clone.root)
        if recorded[0] == "lab":
            commit(clone)
    train = clone.root / "metrics/train.json"
    metrics_tree.change_json(train, test_accuracy=0.5, test_loss=1.25)
    return clone


@pytest.mark.slow
def test_metrics_diff_of_the_default_schemes_fits(default: Clone) -> None:
    head, *rows = lines(default, "dvc", "metrics", "diff")
    assert head.split() == ["Path", "Metric", "HEAD", "workspace", "Change"]
    shown = [row.split()[:2] for row in rows]
    assert {key for file, key in shown if file == "metrics/accuracy.json"} == set(DEFAULT)
    keys = [key for file, key in shown if file == "metrics/compare.json"]
    assert {key.partition(".")[0] for key in keys} > {"drop_points", "energy_ratio", "size_mb"}
    assert ["metrics/train.json", "test_accuracy"] in shown
    of_first = [row for row in shown if row[1] == DEFAULT[0] or row[1].endswith(f".{DEFAULT[0]}")]
    assert len(of_first) <= 12


@pytest.mark.slow
def test_inv_diff_of_the_default_schemes_fits(default: Clone) -> None:
    lines(default, sys.executable, "-m", "invoke", "diff")


@pytest.mark.slow
def test_accuracies_come_first_and_fit_where_experiments_are_shown(default: Clone) -> None:
    accuracies = ["FP32", *sorted(DEFAULT)]
    head, *_ = table(default)
    first = head.index("FP32")
    assert head[first - 1] == "parent"  # the last column that is none of a run's
    assert head[first : first + len(accuracies)] == accuracies
    # What a pager shows at first of a table that is wider: all accuracies.
    shown = printed(default, "dvc", "exp", "show").splitlines()[1][:WIDTH].split()
    assert shown[: 2 + len(accuracies)] == ["Experiment", "Created", *accuracies]


@pytest.mark.pipeline
def test_experiments_of_a_pipeline_fit_and_reuse_what_ran(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tiny_run(tmp_path_factory).copy(tmp_path / "copy")
    commit(clone)
    change = ("--set-param", "schemes.lab.weights.clamp=[-4,0]")
    printed(clone, "dvc", "exp", "run", "--name", "try", *change)
    shown = lines(clone, sys.executable, "-m", "invoke", "experiments")
    assert shown[1].split() == ["Experiment", "FP32", *SCHEMES, "schemes.lab.weights.clamp"]
    (of_try,) = (line for line in shown if "[try]" in line)
    assert of_try.rstrip().endswith("  [-4, 0]")
    for name, keys in KEYS.items():
        assert set(files.read_json(clone.root / f"metrics/{name}.json")) == set(keys.split()), name
    before = table(clone, "--rev", "HEAD")
    of_lab = [name for name in before[0] if name == "lab" or name.endswith(".lab")]
    assert set(of_lab) == {"lab", *(f"{key}.lab" for key in (
        "drop_points", "energy_ratio", "min_sqnr_db", "size_mb", "validation_accuracy"
    ))}  # fmt: skip
    # Files in Git that DVC does not compare come from the run-cache all the same.
    clone.run("git", "checkout", "--quiet", ".")
    for folder in ("metrics/evaluate", "metrics/train.json", "plots/totals"):
        path = clone.root / folder
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    expected = printed(clone, "git", "ls-files", "metrics", "plots").split()
    assert clone.repro() == []
    assert all((clone.root / name).is_file() for name in expected)
