"""README's table of published runs, a line a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from powtwo.tools import published
from powtwo.tools.docs import markdown
from powtwo.tools.docs.markdown import mean_deviation
from powtwo.tools.published import Run

NOTE = (
    "Published runs, each `results/NAME/`. Images are for training, validation and testing. The "
    "scheme is the cheapest within one standard error of the best validation accuracy. A recipe "
    "trained from several seeds has means over the seeds, by which its scheme is selected, ± the "
    "sample standard deviation, and a p-value for each seed."
)


def table(root: Path) -> str:
    """Return Markdown about the published runs, nothing where there are none."""
    runs = [published.load(folder) for folder in published.folders(root)]
    recipes = [
        list(group) for _, group in groupby(runs, lambda run: published.recipe(run.folder.name))
    ]
    if not recipes:
        return ""
    lines = [list(_cells(group).values()) for group in recipes]
    return "\n".join([NOTE, "", *markdown.table(list(_cells(recipes[0])), lines)])


def machine(log: Mapping[str, Any]) -> str:
    """Return the machine that trained, by the log of the stage."""
    if not log:
        return "unknown"
    several = f"{log['processes']} × " if log["processes"] > 1 else ""
    processor = f"{log['threads']} threads, {log['processor'] or log['machine']}"
    device = log["device_name"] if log["device"] == "cuda" else processor
    return f"{several}{device}, {log['precision']}, PyTorch {log['torch']}"


def _cells(runs: Sequence[Run]) -> dict[str, str]:
    """Return the line of a recipe by the titles of its columns."""
    first, logs, scheme = runs[0], [run.log for run in runs], published.choose(runs)
    # What came before a training was stopped and resumed counts as well.
    seconds = [log["seconds"] + log["earlier_seconds"] for log in logs if log]

    def of_scheme(figure: str, form: str) -> str:
        return mean_deviation(published.column(runs, scheme, figure), form)

    return {
        "run": f"`{published.recipe(first.folder.name)}`",
        "seeds": str(len(runs)),
        "images": f"`{first.download['name']}`: {', '.join(published.images(first))}",
        "epochs": mean_deviation([run.train["epochs_run"] for run in runs], ".4g"),
        "float accuracy": mean_deviation([run.float_accuracy for run in runs], ".2%"),
        "scheme": f"`{scheme}`",
        "accuracy": of_scheme("accuracy", ".2%"),
        "drop, points": of_scheme("drop_points", ".2f"),
        "p-value": ", ".join(f"{p:.2g}" for p in published.column(runs, scheme, "p_value")),
        "energy, µJ": of_scheme("energy_uj", ".3f"),
        "energy ratio": of_scheme("ratio", ".2f"),
        "prices": ", ".join(dict.fromkeys(f"`{run.prices}`" for run in runs)),
        "training, s": mean_deviation(seconds, ",.0f") if all(logs) else "unknown",
        "machine": "; ".join(dict.fromkeys(map(machine, logs))),
    }
