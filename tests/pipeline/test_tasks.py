"""Tasks, with stubs for the programs that they compose."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT

pytestmark = pytest.mark.slow  # each test starts Invoke
BOTH = "<-n> <logical> <--dist> <worksteal>"  # on every processor
PROGRAMS = ("dvc", "pytest", "ruff", "mypy", "python", "pre-commit")
EXPERIMENTS = "powtwo.tools.experiments"
REPRO = "python <-m> <powtwo.tools.repro>"
PIP = "<-m> <pip> <install> <--quiet> <-r> <requirements.txt>"
STUB = """#!/bin/sh
echo "$(basename "$0")" >>"$CALLS"
for word; do echo "<$word>" >>"$CALLS"; done
echo "data=${{POWTWO_DATA-}} in=$PWD"
echo "${{GLIBC_TUNABLES-}}" >"$CALLS.tunables"
exit {code}
"""


class Project:
    """A copy of what tasks need, where programs are stubs that tell how they were called."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.told = folder / "a project", folder / "bin", folder / "calls"
        self.root.mkdir()
        self.bin.mkdir()
        for path in ("tasks.py", ".gitignore", "tests/data/params.yaml"):
            shutil.copy(ROOT / path, self.root)
        shutil.copytree(ROOT / "presets", self.root / "presets")
        (self.root / "src").symlink_to(ROOT / "src")
        (self.root / ".git").mkdir()
        for program in PROGRAMS:
            self.stub(program)

    def stub(self, program: str, code: int = 0) -> None:
        (self.bin / program).write_text(STUB.format(code=code), encoding="utf-8")
        (self.bin / program).chmod(0o755)

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def inv(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        self.told.write_text("", encoding="utf-8")
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        search = ["--search-root", str(self.root)]
        return subprocess.run(
            [sys.executable, "-m", "invoke", *search, *arguments],
            cwd=cwd or self.root,
            env={**os.environ, "PATH": path, "CALLS": str(self.told), "POWTWO_DATA": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, *arguments: str) -> list[str]:
        """Return the commands that `inv ARGUMENTS` composed, each word but the first in <>."""
        assert self.inv(*arguments).returncode == 0
        words = self.told.read_text(encoding="utf-8").splitlines()
        return "\n".join(words).replace("\n<", " <").splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    if os.name == "nt":
        pytest.skip("the stubs are POSIX scripts")
    return Project(tmp_path)


def test_every_task_is_described_in_one_line_and_in_docs(project: Project) -> None:
    lines = [line.split() for line in project.inv("--list").stdout.splitlines()[2:] if line]
    page = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    for name, *description in lines:
        assert description
        assert f"`{name}" in page  # the rest of a wrapped line is not


def test_tasks_import_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'dvc'}"
    code = f"import sys, tasks; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        ("repro", [REPRO]),
        ("repro --targets train", [f"{REPRO} <train>"]),
        ("repro -t train -t evaluate@lab", [f"{REPRO} <train> <evaluate@lab>"]),
        ("repro --targets train,compare -- --force", [f"{REPRO} <train> <compare> <--force>"]),
        ("setup", [f"python {PIP}"]),
        ("setup --hooks", [f"python {PIP}", "pre-commit <install>"]),
        ("status", ["python <-m> <powtwo.tools.status>"]),
        ("prune", ["python <-m> <powtwo.tools.prune>"]),
        ("prune -- --dry-run", ["python <-m> <powtwo.tools.prune> <--dry-run>"]),
        ("metrics", ["dvc <metrics> <show>"]),
        ("metrics -- --md", ["dvc <metrics> <show> <--md>"]),
        ("diff", ["python <-m> <powtwo.tools.diff>"]),
        ("diff v1", ["python <-m> <powtwo.tools.diff> <v1>"]),
        ("diff v1 v2", ["python <-m> <powtwo.tools.diff> <v1> <v2>"]),
        (
            "experiments -- --csv",
            [
                "dvc <exp> <show> <--only-changed> <--no-pager> <--keep> <$> "
                "<--drop> <Created|.*/> <--csv>"
            ],
        ),
        ("test", [f"pytest {BOTH}"]),
        ("test --fast", [f"pytest {BOTH} <-m> <not slow and not pipeline>"]),
        ("check", ["python <-m> <powtwo.tools.check>"]),
        ("verify", ["python <-m> <powtwo.tools.verify>"]),
        ("verify --train", ["python <-m> <powtwo.tools.verify> <--train>"]),
        ("test -- -k 'a or b'", [f"pytest {BOTH} <-k> <a or b>"]),
        ("lint", ["ruff <check>", "ruff <format> <--check>", "mypy"]),
        ("lint --fix", ["ruff <check> <--fix>", "ruff <format>", "mypy"]),
        ("bench", ["python <benchmarks/train.py>"]),
        ("bench engine", ["python <benchmarks/engine.py>"]),
        ("bench engine -- --quick", ["python <benchmarks/engine.py> <--quick>"]),
        ("publish a-run", ["python <-m> <powtwo.tools.publish> <a-run>"]),
        ("publish a-run --force", ["python <-m> <powtwo.tools.publish> <a-run> <--force>"]),
        (
            "evaluate --network /n --data /d",
            ["python <-m> <powtwo.tools.evaluate_network> <--network> </n> <--data> </d>"],
        ),
        ("evaluate --network /n", ["python <-m> <powtwo.tools.evaluate_network> <--network> </n>"]),
        (
            "export --network /n --out /o",
            ["python <-m> <powtwo.tools.export_network> <--network> </n> <--out> </o>"],
        ),
        ("exp try", [f"python <-m> <{EXPERIMENTS}.one> <try>"]),
        (
            "exp try -s seed=1 -s 'model.hidden=[1, 2]'",
            [f"python <-m> <{EXPERIMENTS}.one> <try> <-s> <seed=1> <-s> <model.hidden=[1, 2]>"],
        ),
        ("sweep /f", [f"python <-m> <{EXPERIMENTS}.sweep> </f> <--part> <1/1>"]),
        (
            "sweep /f --part 2/8 --dry-run",
            [f"python <-m> <{EXPERIMENTS}.sweep> </f> <--part> <2/8> <--dry-run>"],
        ),
        (
            "search w3 --ratio 60 --candidates uniform2,uniform3 --add",
            [
                "python <-m> <powtwo.tools.search.run> <w3> <--ratio> <60> "
                "<--candidates> <uniform2,uniform3> <--add>"
            ],
        ),
        (
            "search w3 --budget-uj 3 --table t --images 9 --tries 2 --rounds 3 --name n -c /f.yaml",
            [
                "python <-m> <powtwo.tools.search.run> <w3> <--budget-uj> <3> <--table> <t> "
                "<--images> <9> <--candidates> </f.yaml> <--tries> <2> <--rounds> <3> <--name> <n>"
            ],
        ),
        ("leaderboard", [f"python <-m> <{EXPERIMENTS}.leaderboard>"]),
        (
            "leaderboard --csv --sort seed --scheme lab",
            [f"python <-m> <{EXPERIMENTS}.leaderboard> <--csv> <--sort> <seed> <--scheme> <lab>"],
        ),
        ("metrics check", ["dvc <metrics> <show>", "python <-m> <powtwo.tools.check>"]),
        (
            "export --network /n --prefix mine --packed",
            [
                "python <-m> <powtwo.tools.export_network> <--network> </n> <--prefix> <mine> "
                "<--packed>"
            ],
        ),
        (
            "export --network /n --strict",
            ["python <-m> <powtwo.tools.export_network> <--network> </n> <--strict>"],
        ),
        ("--dry repro", []),
    ],
)
def test_tasks_compose_commands(project: Project, arguments: str, commands: list[str]) -> None:
    project.write("benchmarks/train.py")
    project.write("benchmarks/engine.py")
    assert project.calls(*shlex.split(arguments)) == commands


def test_commands_run_at_the_root_and_data_counts_from_here(project: Project) -> None:
    elsewhere = project.root.parent / "bin"
    (elsewhere / "images.tar").touch()
    done = project.inv("repro", "--data", "images.tar", cwd=elsewhere)
    assert done.stdout == f"data={elsewhere}/images.tar in={project.root}\n"


def test_what_trains_keeps_its_memory_unless_the_user_has_settings(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("benchmarks/train.py")
    told = project.told.with_suffix(".tunables")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    for task in ("repro", "bench"):
        project.inv(task)
        settings = told.read_text(encoding="utf-8").strip().split(":")
        assert "glibc.malloc.mmap_max=0" in settings
        assert "glibc.malloc.trim_threshold=8589934592" in settings
    project.inv("metrics")
    assert told.read_text(encoding="utf-8") == "\n"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    project.inv("repro")
    assert told.read_text(encoding="utf-8") == "glibc.malloc.check=1\n"


def test_debug_shows_tracebacks_of_whatever_a_task_starts(project: Project) -> None:
    (project.bin / "dvc").write_text('#!/bin/sh\necho "debug=$POWTWO_DEBUG"\n', encoding="utf-8")
    assert project.inv("metrics", "--debug").stdout == "debug=1\n"
    assert project.inv("metrics", "--", "--debug").stdout == "debug=\n"  # is dvc's
    assert "Traceback" in project.inv("use", "nothing", "--debug").stderr
    assert "Traceback" not in project.inv("use", "nothing").stderr


@pytest.mark.parametrize("task", ["repro", "metrics", "diff", "test", "lint"])
def test_exit_codes_pass_without_a_traceback(project: Project, task: str) -> None:
    for program in ("dvc", "pytest", "python", "ruff"):
        project.stub(program, code=5)
    failed = project.inv(task)
    assert failed.returncode == 5
    assert all(line.startswith("$ ") for line in failed.stderr.splitlines())
    assert task != "lint" or "mypy" in project.told.read_text(encoding="utf-8")  # it runs on


def test_a_signal_counts_as_in_a_shell(project: Project) -> None:
    (project.bin / "dvc").write_text("#!/bin/sh\nkill -TERM $$\n", encoding="utf-8")
    assert project.inv("metrics").returncode == 128 + signal.SIGTERM


def test_ctrl_c_leaves_the_command_time_to_end(project: Project) -> None:
    trap = "trap 'sleep 1; echo ended; exit 5' INT"
    patient = f"#!/bin/sh\n{trap}\necho begun\nwhile :; do sleep 0.1; done\n"
    (project.bin / "dvc").write_text(patient, encoding="utf-8")
    path = os.pathsep.join([str(project.bin), os.environ["PATH"]])
    running = subprocess.Popen(
        [sys.executable, "-m", "invoke", "--search-root", str(project.root), "metrics"],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, which a terminal's Ctrl-C reaches whole
    )
    with running:
        assert running.stdout
        assert running.stdout.readline() == "begun\n"
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=20) == 5
        assert running.stdout.read() == "ended\n"


def test_a_missing_program_is_said_in_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.bin / "dvc").unlink()
    monkeypatch.setenv("PATH", str(project.bin))
    failed = project.inv("metrics")
    assert failed.returncode == 127
    assert failed.stderr.endswith("\ndvc: not found; use ./inv, or activate .venv\n")


def test_presets_are_listed_laid_and_laid_before_a_run(project: Project) -> None:
    assert project.inv("use").stdout.split() == sorted(p.stem for p in ROOT.glob("presets/*.yaml"))
    params = project.root / "params.yaml"
    for name, command in (("cifar10", ["use"]), ("mnist5k", ["repro", "--preset"])):
        assert project.inv(*command, name).returncode == 0
        assert f"\n  name: {name}  # " in params.read_text(encoding="utf-8")
        failed = project.inv(*command, "nothing")
        assert failed.returncode == 1
        assert failed.stderr.startswith("use: preset 'nothing': no such preset; use one of cifar10")
        assert failed.stderr.count("\n") == 1
        assert project.told.read_text(encoding="utf-8") == ""  # dvc was not called


def test_bench_names_the_known(project: Project) -> None:
    project.write("benchmarks/train.py")
    project.write("benchmarks/_common.py")
    failed = project.inv("bench", "trian")
    assert failed.returncode == 1
    assert failed.stderr == "bench: 'trian': no such benchmark; use one of train\n"


def test_data_that_is_not_there_ends_it_before_any_work(project: Project) -> None:
    for data in ("absent", "x" * 300):
        failed = project.inv("repro", "--preset", "cifar10", "--data", data)
        assert failed.returncode == 1
        assert failed.stderr == f"repro: --data {data}: no such file or folder; correct it\n"
    assert project.told.read_text(encoding="utf-8") == ""


@pytest.mark.parametrize("arguments", ["diff", "publish x", "setup --hooks"])
def test_what_needs_git_says_so_without_it(project: Project, arguments: str) -> None:
    (project.root / ".git").rmdir()
    failed = project.inv(*arguments.split())
    assert failed.returncode == 1
    name = arguments.removesuffix(" x")
    assert failed.stderr == f"{name}: no Git here, whose commits it needs; clone the repository\n"
    assert project.told.read_text(encoding="utf-8") == ""


def test_clean_works_without_git(project: Project) -> None:
    (project.root / ".git").rmdir()
    kept = [project.write(name) for name in ("data/README.md", "data/mine.tar", "metrics/a.json")]
    outputs = [project.write(name) for name in ("data/source.json", "models/a/b", "logs/a.json")]
    assert project.inv("--dry", "clean").stdout == ""
    assert all(path.exists() for path in outputs)
    told = project.inv("clean").stdout.splitlines()
    assert told == ["Removing data/source.json", "Removing models", "Removing logs"]
    assert not any(path.exists() for path in outputs)
    assert all(path.exists() for path in kept)


def test_clean_removes_outputs_and_says_so(project: Project) -> None:
    subprocess.run(["git", "init", "--quiet", str(project.root)], check=True)
    project.write(".dvc/.gitignore", "/cache\n")
    names = (".venv/bin/python", "metrics/train.json", "data/README.md", "data/archive.tar.gz")
    kept = [project.write(name) for name in names]
    on_request = {"checkpoints": project.write("checkpoints/train/last.pt"),
                  "cache": project.write(".dvc/cache/files/1")}  # fmt: skip
    outputs = [project.write(name) for name in ("data/dataset.npz", "models/a/b", "logs/a.json")]
    told = project.inv("clean").stdout
    assert all(f"Removing {name}" in told for name in ("data/dataset.npz", "models/", "logs/"))
    assert not any(path.exists() for path in outputs)
    for option, path in on_request.items():
        assert path.exists()
        assert f"{option}/" in project.inv("clean", f"--{option}").stdout
        assert not path.exists()
    assert all(path.exists() for path in kept)
