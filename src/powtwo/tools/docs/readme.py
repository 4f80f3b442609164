"""What README and docs/results.md show of results: the headline, and tables of schemes and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from powtwo.core import files
from powtwo.report import systems
from powtwo.report.columns import MAIN_COLUMNS, MISSING, Column, shown
from powtwo.report.figures.pareto import accuracy_and_energy, pareto_front
from powtwo.report.results import Row
from powtwo.tools import published
from powtwo.tools.docs import markdown
from powtwo.tools.docs.markdown import mean_deviation
from powtwo.tools.published import Run

HEADLINE = Path("results/cifar10-jpeg-tuned")  # the run whose picture README opens with
CALIBRATED = Path("results/cifar10-jpeg")  # the one whose schemes are not fine-tuned
EDITED, AFTER = "w3", "w3-mse"  # the scheme that README edits, and the one that it then equals
MOST_ROWS = 8
RATIOS = {
    "ratio_gated_dense": "gated / dense", "ratio_gated_gated": "gated / gated",
    "ratio_with_sram": "with SRAM",
}  # fmt: skip
GATED = (
    " Gated hardware skips products with a zero operand: the scheme's against dense FP32, and "
    "against gated FP32. With SRAM: dense arithmetic and memory together, weights and activations "
    "in 1 MB of SRAM."
)
NOTE = (
    "Published runs, each `results/NAME/`. Images are for training, validation and testing. The "
    "scheme is the cheapest within one standard error of the best validation accuracy. A recipe "
    "trained from several seeds has means over the seeds, by which its scheme is selected, ± the "
    "sample standard deviation, and a p-value for each seed."
)


def headline(folder: Path) -> str:
    """Return what the scheme that validation images choose costs and saves, of a published run."""
    runs = _of_recipe(folder)
    scheme, first = published.choose(runs), runs[0]
    ratio, drop = (
        mean_deviation(published.column(runs, scheme, figure), form)
        for figure, form in (("ratio", ".1f"), ("drop_points", ".2f"))
    )
    with_memory = published.as_configured(first, scheme)
    both = f"{float(with_memory['sum_ratio']):.1f}"
    accuracy = mean_deviation(published.column(runs, scheme, "accuracy"), ".2%")
    return (
        f"**Integer-only inference has {accuracy} top-1 accuracy, FP32 {_float_accuracy(runs)}, "
        f"for {ratio} times less energy of arithmetic than FP32, and {both} times "
        f"less with memory**{_gated(runs, scheme)} (mean ± sample standard deviation of "
        f"{len(runs)} trainings, {first.download['test_images']:,} test images; {drop} points are "
        f"lost): the scheme `{scheme}` of [{folder.name}](results/{folder.name}/params.yaml), by "
        f"the price table `{first.prices}`, with weights in `{with_memory['weights_in']}` and "
        f"activations in `{with_memory['activations_in']}`. {systems.read().markdown}"
    )


def _gated(runs: Sequence[Run], scheme: str) -> str:
    """Return the ratios of hardware that skips products with a zero operand, where known."""
    if not published.known(runs, "ratio_gated_dense"):
        return ""
    one, both = (
        mean_deviation(published.column(runs, scheme, name), ".1f")
        for name in ("ratio_gated_dense", "ratio_gated_gated")
    )
    return (
        f"; {one} times less than FP32 where products with a zero operand are skipped, and {both} "
        "times where FP32 skips them too"
    )


def edit(root: Path) -> str:
    """Return what `inv diff` says of README's edit: EDITED then has the options of AFTER.

    A run of other schemes has no such line, and the passage says so.
    """
    accuracy = files.read_json(root / "metrics/accuracy.json")
    if not {EDITED, AFTER} <= accuracy.keys():
        return f"The run in the work tree lacks the schemes `{EDITED}` and `{AFTER}` of this edit."
    old, new = (accuracy[scheme] for scheme in (EDITED, AFTER))
    row = ("metrics/accuracy.json", EDITED, f"{old:.5g}", f"{new:.5g}", f"{new - old:.5g}")
    lines = [("Path", "Metric", "HEAD", "workspace", "Change"), row]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join(["```text", *text, "```"])


def best(folder: Path) -> str:
    """Return the figures of FP32 and of `best_schemes`."""
    runs = _of_recipe(folder)
    first = runs[0]
    float_accuracy = _percent([run.float_accuracy for run in runs])
    more = [column for column in RATIOS if published.known(runs, column)]
    unknown = [MISSING] * len(more)
    rows = [["FP32", float_accuracy, MISSING, f"{float_uj(first):.3f}", "1", *unknown]]
    figures = {"drop_points": ".2f", "energy_uj": ".3f", "ratio": ".1f"} | dict.fromkeys(
        more, ".1f"
    )
    selected = published.choose(runs)
    for name in best_schemes(runs):
        cells = [
            _percent(published.column(runs, name, "accuracy")),
            *(
                _unbroken(mean_deviation(published.column(runs, name, figure), form))
                for figure, form in figures.items()
            ),
        ]
        text = f"`{name}`"
        rows.append([f"**{text}**" if name == selected else text, *cells])
    _, _, test = published.images(first)
    sentence = (
        f"`{folder.name}` (CIFAR-10 saved as JPEG again, which is not CIFAR-10), {test} test "
        f"images, mean ± sample standard deviation of {len(runs)} trainings. Drop: points of "
        "accuracy lost against FP32. Energy of arithmetic for one image by the prices "
        f"`{first.prices}`; ratio: FP32 over the scheme.{GATED if more else ''} Bold: selected on "
        "validation images."
    )
    titles = ["scheme", "accuracy, %", "drop", "µJ", "ratio", *(RATIOS[key] for key in more)]
    return "\n".join([sentence, "", *markdown.table(titles, rows)])


def headline_figure(folder: Path) -> Figure:
    """Draw the schemes of the table of `best` as the report does, over the trainings."""
    runs = _of_recipe(folder)

    def point(energies: Sequence[float], accuracies: Sequence[float]) -> Row:
        middle, deviation = mean(accuracies), stdev(accuracies) if len(runs) > 1 else 0.0
        ends = {"accuracy_low": middle - deviation, "accuracy_high": middle + deviation}
        return {"energy_uj": mean(energies), "accuracy": middle, **ends}

    rows = {
        name: point(*(published.column(runs, name, key) for key in ("energy_uj", "accuracy")))
        for name in best_schemes(runs)
    }
    fp32 = point([float_uj(runs[0])], [run.float_accuracy for run in runs])
    title = f"Accuracy (%), mean ± SD of {len(runs)} trainings"
    chips = systems.beside(runs[0].download)
    return accuracy_and_energy(rows, published.choose(runs), fp32, chips, title)


def best_schemes(runs: Sequence[Run]) -> list[str]:
    """Name the lab's scheme, the selected one and those that no other beats, the cheapest last."""
    points = {
        name: (mean(published.column(runs, name, "energy_uj")),
               mean(published.column(runs, name, "accuracy")))
        for name in runs[0].schemes
    }  # fmt: skip
    front, always = pareto_front(list(points.values())), {"lab", published.choose(runs)}
    names = [name for name, point in points.items() if point in front or name in always]
    return sorted(names, key=lambda name: -points[name][0])[-MOST_ROWS + 1 :]


def float_uj(run: Run) -> float:
    """Return the energy of FP32's arithmetic for one image, µJ."""
    return float(published.as_configured(run, next(iter(run.schemes)))["arithmetic_float_uj"])


def _percent(fractions: Sequence[float]) -> str:
    return _unbroken(mean_deviation([100 * fraction for fraction in fractions], ".2f"))


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def work_tree(root: Path) -> str:
    """Return the table of schemes of the run in the work tree."""
    return _schemes([published.load(root)], "The committed run")


def published_schemes(folder: Path) -> str:
    """Return the table of schemes of a published run and its other seeds."""
    return _schemes(_of_recipe(folder), f"`{folder.name}`")


def published_runs(root: Path) -> str:
    """Return Markdown about the published runs, nothing where there are none."""
    runs = [published.load(folder) for folder in published.folders(root)]
    recipes = [
        list(group) for _, group in groupby(runs, lambda run: published.recipe(run.folder.name))
    ]
    if not recipes:
        return ""
    lines = [list(_recipe_cells(group).values()) for group in recipes]
    return "\n".join([NOTE, "", *markdown.table(list(_recipe_cells(recipes[0])), lines)])


def _of_recipe(folder: Path) -> list[Run]:
    """Read a published run and its other seeds, in this order."""
    others = published.other_seeds(folder.parents[1], folder.name)
    return [published.load(path) for path in (folder, *others)]


def _schemes(runs: Sequence[Run], name: str) -> str:
    """Return every scheme of a recipe, with a sentence that says what is compared."""
    first = runs[0]
    train, validation, test = published.images(first)
    several = "" if len(runs) == 1 else (
        f" Figures are means ± sample standard deviations of {len(runs)} trainings from different "
        "seeds."
    )  # fmt: skip
    sentence = (
        f"{name}: `{first.download['name']}`, {train} training, {validation} validation and {test} "
        f"test images. The float network has {first.train['parameters']:,} parameters and "
        f"{_float_accuracy(runs)} test accuracy. Each scheme runs it on integers alone.{several} "
        "The p-value is that of McNemar's test on the same images; the ratio is the energy of FP32 "
        f"arithmetic over the scheme's, by the price table `{first.prices}`. Selected on the "
        f"validation set (one-standard-error rule): `{published.choose(runs)}`."
    )
    columns = [column for column in MAIN_COLUMNS if published.known(runs, column.name)]
    rows = [
        [f"`{scheme}`", *(_cell(runs, scheme, column) for column in columns)]
        for scheme in first.schemes
    ]
    titles = ["scheme", *(column.title for column in columns)]
    return "\n".join([sentence, "", *markdown.table(titles, rows)])


def _cell(runs: Sequence[Run], scheme: str, column: Column) -> str:
    values = published.column(runs, scheme, column.name)
    if None in values:
        return MISSING
    if column.name == "p_value":  # a test of each training; a mean would be of none
        return ", ".join(shown(value, column.form) for value in values)
    return mean_deviation(values, column.form)


def _float_accuracy(runs: Sequence[Run]) -> str:
    return mean_deviation([run.float_accuracy for run in runs], ".2%")


def _machine(log: Mapping[str, Any]) -> str:
    """Return the machine that trained, by the log of the stage."""
    if not log:
        return "unknown"
    several = f"{log['processes']} × " if log["processes"] > 1 else ""
    processor = f"{log['threads']} threads, {log['processor'] or log['machine']}"
    device = log["device_name"] if log["device"] == "cuda" else processor
    return f"{several}{device}, {log['precision']}, PyTorch {log['torch']}"


def _recipe_cells(runs: Sequence[Run]) -> dict[str, str]:
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
        "float accuracy": _float_accuracy(runs),
        "scheme": f"`{scheme}`",
        "accuracy": of_scheme("accuracy", ".2%"),
        "drop, points": of_scheme("drop_points", ".2f"),
        "p-value": ", ".join(shown(p, "p") for p in published.column(runs, scheme, "p_value")),
        "energy, µJ": of_scheme("energy_uj", ".3f"),
        "energy ratio": of_scheme("ratio", ".1f"),
        "prices": ", ".join(dict.fromkeys(f"`{run.prices}`" for run in runs)),
        "training, s": mean_deviation(seconds, ",.0f") if all(logs) else "unknown",
        "machine": "; ".join(dict.fromkeys(map(_machine, logs))),
    }
