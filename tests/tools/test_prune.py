"""`inv prune` removes what removed schemes and killed stages left, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from clone import PARAMS
from closure import ROOT

from powtwo.core import files, scratch
from powtwo.report import results
from powtwo.tools import prune

PATTERNS = [
    *(f"metrics/{part}/{{}}.json" for part in results.METRICS),
    *(f"plots/{part}/{{}}.csv" for part in results.PLOTS),
    "models/calibrated/{}.safetensors", "models/integer/{}.safetensors", "exports/{}/manifest.json",
]  # fmt: skip


def write(root: Path, name: str, text: str = "{}") -> Path:
    files.write_text(root / name, text)
    return root / name


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scratch, "YOUNG", 0)
    shutil.copy(PARAMS, tmp_path)
    return tmp_path


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_has_no_scheme_is_removed_and_said(
    root: Path, pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, kept = (
        write(root, pattern.format(name), f'{{"scheme": "{name}"}}') for name in ("old", "lab")
    )
    said = gone.parent if gone.name == "manifest.json" else gone
    for options, exists in ((["--dry-run"], True), ([], False)):
        prune.main(options, root)
        assert capsys.readouterr().out == f"Removing {said.relative_to(root).as_posix()}\n"
        assert gone.exists() == exists
    assert kept.exists()


@pytest.mark.parametrize(
    "name",
    ["metrics/train.json", "plots/training.csv", "plots/schemes.png", "models/float.safetensors",
     "models/integer/notes.txt", "exports/mine/network.c", "exports/mine/manifest.json",
     "metrics/convert/.DS_Store", "metrics/convert/._lab.json", "models/integer/._a.safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("text", ['{"scheme": "another"}', "{", "[]"])
def test_what_is_no_scheme_s_stays(root: Path, name: str, text: str) -> None:
    path = write(root, name, text)
    prune.main([], root)
    assert path.read_text() == text


def test_a_scheme_that_is_no_longer_exported_loses_its_folder(root: Path) -> None:
    gone = write(root, "exports/shift/manifest.json", '{"scheme": "shift"}')  # it is a scheme
    prune.main([], root)
    assert not gone.parent.exists()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (None, "params.yaml: no such file; bring it back"),
        ("schemes: [", "params.yaml: not YAML: "),
        ("seed: 0", "params.yaml: schemes: no such key; add it"),
        ("schemes: {}\nexport: {schemes: []}", "params.yaml: schemes: must have names"),
        ("schemes: [lab]\nexport: {schemes: []}", "params.yaml: schemes: must have names"),
    ],
)
def test_without_params_nothing_but_killed_stages_leftovers_goes(
    root: Path, params: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "params.yaml").unlink()
    if params is not None:
        write(root, "params.yaml", params)
    kept = write(root, "metrics/convert/old.json")
    (root / "plots/.writing-abc").mkdir(parents=True)
    with pytest.raises(SystemExit, match="^1$"):
        prune.main([], root)
    told = capsys.readouterr()
    assert told.out == "Removing plots/.writing-abc\n"
    assert told.err.startswith(f"prune: {said}")
    assert told.err.count("\n") == 1
    assert kept.exists()
    assert not (root / "plots/.writing-abc").exists()


def test_stages_of_removed_schemes_leave_the_lock(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = (ROOT / "dvc.lock").read_text(encoding="utf-8")
    stages = yaml.safe_load(lock)["stages"]
    write(root, "dvc.lock", lock)
    schemes = {name.partition("@")[2] for name in stages if "@" in name}
    files.write_text(root / "params.yaml", yaml.safe_dump(
        {"schemes": {name: {} for name in schemes}, "export": {"schemes": sorted(schemes)}}
    ))  # fmt: skip
    prune.main([], root)
    assert (root / "dvc.lock").read_text(encoding="utf-8") == lock  # not a byte of what stays
    gone = sorted(schemes)[0]
    left = sorted(schemes - {gone})
    files.write_text(root / "params.yaml", yaml.safe_dump(
        {"schemes": {name: {} for name in left}, "export": {"schemes": left}}
    ))  # fmt: skip
    capsys.readouterr()
    prune.main([], root)
    of_gone = [name for name in stages if name.endswith(f"@{gone}")]
    assert capsys.readouterr().out == "".join(f"Removing {n} from dvc.lock\n" for n in of_gone)
    after = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert after == {name: stage for name, stage in stages.items() if name not in of_gone}
