"""Search bits by layer: `python -m powtwo.tools.search.run SCHEME --ratio R` or `--budget-uj U`.

It reads params.yaml, models/float.safetensors and data/dataset.npz, as a run of the pipeline left
them, and writes a folder of build/search/.
"""

from __future__ import annotations

import argparse
import re
import sys
from fractions import Fraction
from pathlib import Path

from powtwo.core import files
from powtwo.core.params import ParamsError, SchemeName, Section, validate
from powtwo.core.stages import repeatable
from powtwo.dataset.images import Dataset
from powtwo.energy.operation_prices import load_price_table
from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools.search import candidates, results, steps
from powtwo.tools.search.measure import Measurer
from powtwo.tools.search.price import Budget, Prices

PARAMS, NETWORK = Path("params.yaml"), Path("models/float.safetensors")
IMAGES = Path("data/dataset.npz")
FOLDER = Path("build/search")
KEPT = FOLDER / "measured"


class Options(Section):
    """What the command line asks for."""

    scheme: str
    ratio: Fraction | None
    budget_uj: Fraction | None
    table: str | None
    candidates: str
    images: int | None
    tries: int
    rounds: int
    name: SchemeName
    add: bool


def main(arguments: list[str]) -> None:
    """Search, and say what was found."""
    words = _parser().parse_args(arguments)
    with one_line_errors("search"):
        options = _options(words)
        params = schema.load(PARAMS)
        if options.scheme not in params.schemes:
            known = ", ".join(params.schemes)
            raise ParamsError(f"{options.scheme}: no scheme of params.yaml; use one of {known}")
        repeatable()
        run(options, params)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="search")
    parser.add_argument("scheme")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--ratio")
    budget.add_argument("--budget-uj")
    parser.add_argument("--table")
    parser.add_argument("--candidates", default=candidates.WORDS)
    parser.add_argument("--images")
    parser.add_argument("--tries", default="5")
    parser.add_argument("--rounds", default="1")
    parser.add_argument("--name")
    parser.add_argument("--add", action="store_true")
    return parser


def _options(words: argparse.Namespace) -> Options:
    values = vars(words) | {
        "ratio": number("--ratio", words.ratio),
        "budget_uj": number("--budget-uj", words.budget_uj),
        "images": count("--images", words.images),
        "tries": count("--tries", words.tries),
        "rounds": count("--rounds", words.rounds),
        "name": words.name or f"{words.scheme}-mixed",
    }
    return validate(Options, values, "search")


def number(option: str, text: str | None) -> Fraction | None:
    """Return a decimal number above 0, exactly; None where the option is not given.

    Raises:
        ValueError: where it is none.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) or not Fraction(text):
        raise ValueError(f"{option} {text}: must be a decimal number above 0")
    return Fraction(text)


def count(option: str, text: str | None) -> int | None:
    """Return a whole number from 1 on; None where the option is not given.

    Raises:
        ValueError: where it is none.
    """
    if text is not None and not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ValueError(f"{option} {text}: must be a number from 1 on")
    return None if text is None else int(text)


def run(options: Options, params: schema.Params) -> None:
    """Measure, solve, measure what was found, and write it down.

    Raises:
        ValueError: where nothing is within the budget, or something cannot be.
    """
    scheme = params.schemes[options.scheme]
    table = options.table or params.energy.all_widths or params.energy.table
    prices = Prices(load_price_table(table, key="--table"), params.energy.zero_point)
    offered = candidates.read(options.candidates)
    images = options.images or params.evaluate.sensitivity_images
    if not images:
        raise ValueError("evaluate.sensitivity_images = 0: no image to measure on; give --images")
    measurer = Measurer(NETWORK, Dataset.load(IMAGES), params.calibrate, images, KEPT)
    layers = candidates.by_layer(offered, measurer.layers, scheme)

    own = measurer.measure(candidates.assigned(scheme, layers, {}))
    budget = Budget.of(options.ratio, options.budget_uj, prices.float_pj(own.shapes))
    limits = steps.Limits(budget, options.tries, options.rounds)
    rounds = steps.search(scheme, layers, measurer, prices, limits)
    best = rounds[-1].best

    found = candidates.assigned(scheme, layers, best.formats)
    summary = results.Summary(options.name, own.images, table, budget.float_pj)
    folder = FOLDER / options.name
    rows = results.alone_rows(rounds, prices)
    files.write_csv(folder / "layers.csv", results.ALONE_COLUMNS, rows)
    rows = results.front_rows(rounds, budget.float_pj)
    files.write_csv(folder / "front.csv", results.FRONT_COLUMNS, rows)
    comment = f"inv search {options.scheme}, {budget.said}: {summary.line(best)}"
    files.write_text(folder / "scheme.yaml", results.scheme_text(options.name, found, comment))
    print(summary.line(best))
    if options.add:
        results.add(options.name, found, PARAMS)
    print(f"{folder.as_posix()}: scheme.yaml, front.csv, layers.csv")


if __name__ == "__main__":
    main(sys.argv[1:])
