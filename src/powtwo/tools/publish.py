"""Freeze the current run as `results/NAME/`: `python src/publish.py NAME`. No stage."""

import sys
from pathlib import Path

from powtwo.tools import publishing


def main(arguments: list[str]) -> int:
    """Publish, and say what was written; return 1 where nothing was."""
    name = arguments[0] if len(arguments) == 1 else ""
    try:
        about, replaced = publishing.publish(Path(), name)
    except (ValueError, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 1
    done = "replaced what stood there" if replaced else "published"
    print(f"results/{name}: {done}; the network is that of {about['scheme']}")
    if Path(f"logs/{publishing.SEEDS}").is_file() and not about["seeds"]:
        print(f"logs/{publishing.SEEDS} is left out: it lacks this run's own calibration seed")
    unknown = [stage for stage, log in about["stages"].items() if log is None]
    if unknown:
        print(f"seconds unknown, as the log is missing or of another run: {', '.join(unknown)}")
    commits = {log["commit"] for log in about["stages"].values() if log and log.get("commit")}
    if len(commits) > 1:
        print(f"its stages ran on {len(commits)} commits, which run.json tells by stage")
    if about["changed_since_commit"] or about["commit"] is None:
        print("the code is of no commit: commit it before you publish, so that others find it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
