"""What reruns: a tiny pipeline in a temporary clone, read by its `Running stage` lines."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from clone import AFTER_TRAINING, SCHEMES, Clone, of_scheme, tiny_run

pytestmark = pytest.mark.pipeline

LAB = of_scheme("lab")
OUTPUTS = ("metrics", "plots", "models", "report", "exports")


def each(*stages: str) -> list[str]:
    """List stages for every scheme."""
    return sorted(f"{stage}@{scheme}" for stage in stages for scheme in SCHEMES)


@pytest.fixture
def clone(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return tiny_run(tmp_path_factory).copy(tmp_path / "copy")


def test_nothing_changed_runs_nothing_wherever_the_images_lie(clone: Clone) -> None:
    clone.edit_params(lambda values: values["data"].update(path="/another/place"))
    assert clone.repro() == []
    assert "\nimages (as in the last run): images, folder-sha256 " in clone.output


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        (["tools/presets", "sidecar/run_log", "sidecar/schema", "pt2e", "__init__"], []),
        (["export/bundle"], ["export@lab"]),
        (["report/results"], ["compare"]),
        (["energy/counts"], each("energy")),
        (["calibration/observers"], each("calibrate", "finetune")),  # the same exponents: no more
        (["engine/floats"], each("calibrate", "finetune", "evaluate")),
        (["evaluation/comparison"], sorted(["evaluate-float", *each("evaluate")])),
        (["conversion/to_integer"], each("calibrate", "finetune", "convert", "evaluate")),
    ],
)  # fmt: skip
def test_a_comment_reruns_what_depends_on_its_package(
    clone: Clone, changed: list[str], stages: list[str]
) -> None:
    for module in changed:
        clone.edit(f"src/powtwo/{module}.py")
    assert clone.repro() == stages


def test_an_observer_that_decides_otherwise_reruns_what_its_output_changes(clone: Clone) -> None:
    clone.edit(
        "src/powtwo/calibration/statistics.py",
        "self.largest / self.grid",
        "2 * self.largest / self.grid",
    )
    schemes = [stage for scheme in SCHEMES for stage in of_scheme(scheme)]
    assert clone.repro() == sorted([*schemes, "compare"])


def test_one_scheme_changed_runs_its_stages_and_compare(clone: Clone) -> None:
    clone.edit_params(lambda values: values["schemes"]["lab"]["weights"].update(clamp=[-4, 0]))
    assert clone.repro() == sorted([*LAB, "compare"])


def test_another_price_and_a_new_key_rerun_energy_and_compare(clone: Clone) -> None:
    clone.edit("src/powtwo/energy/prices/lab.yaml", "3.7", "3.8")
    clone.edit("src/powtwo/energy/params.py", "    table:", "    voltage: int = 1\n    table:")
    clone.edit_params(lambda values: values["energy"].update(voltage=2))
    assert clone.repro() == sorted([*each("energy"), "compare"])
    clone.edit_params(lambda values: values["energy"].update(zero_point="folded"))
    assert clone.repro() == sorted([*each("energy"), "compare"])


def test_the_learning_rate_changed_runs_train_and_all_after(clone: Clone) -> None:
    clone.edit_params(lambda values: values["train"].update(learning_rate=0.03))
    assert clone.repro() == sorted(["train", *AFTER_TRAINING])


def test_a_failed_stage_leaves_earlier_outputs(clone: Clone) -> None:
    clone.edit("src/evaluate.py", "main(sys.argv[1])", "raise ValueError('broken')")
    clone.edit_params(lambda values: values["schemes"]["lab"]["weights"].update(clamp=[-4, 0]))
    ran = clone.repro(fails=True)
    assert {"calibrate@lab", "convert@lab"} & set(ran)
    assert "compare" not in ran
    models = clone.bytes_of("models")
    clone.edit("src/evaluate.py", "raise ValueError('broken')", "main(sys.argv[1])")
    clone.repro()
    assert {
        name: data for name, data in clone.bytes_of("models").items() if name in models
    } == models


def test_a_second_run_from_nothing_gives_the_same_bytes(clone: Clone) -> None:
    before, lock = clone.bytes_of(*OUTPUTS), (clone.root / "dvc.lock").read_bytes()
    for folder in ("data", *OUTPUTS, ".dvc/cache", "../site"):
        shutil.rmtree(clone.root / folder)
    (clone.root / "dvc.lock").unlink()
    assert clone.repro() == sorted(["download", "train", *AFTER_TRAINING])
    assert clone.bytes_of(*OUTPUTS) == before
    assert (clone.root / "dvc.lock").read_bytes() == lock


def test_every_stage_checks_every_parameter_before_any_work(clone: Clone) -> None:
    clone.edit_params(lambda values: values["train"].update(epochs=-1))
    clone.edit("src/powtwo/report/results.py")  # so that compare is to rerun
    done = clone.run("dvc", "repro", "--single-item", "compare")
    assert done.returncode
    assert "compare: params.yaml: train.epochs = -1: Input should be greater than" in done.stderr
