"""Markdown that a command writes: tables, and text between markers of a page."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence


def table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)
) -> list[str]:
    """Return the lines of a table: columns in `words` begin left, others end right."""
    rule = ["---" if column in words else "---:" for column in range(len(titles))]
    return [f"| {' | '.join(cells)} |" for cells in (titles, rule, *rows)]


def mean_deviation(values: Sequence[float], form: str) -> str:
    """Return the mean ± the sample standard deviation, or the mean where all are shown alike.

    Args:
        values: one or more.
        form: of the mean, such as `.2%` or `+.2f`; a deviation has no sign.
    """
    mean = format(statistics.fmean(values), form)
    if len({format(value, form) for value in values}) == 1:
        return mean
    return f"{mean} ± {format(statistics.stdev(values), form.lstrip('+'))}"


def insert(page: str, name: str, text: str) -> str:
    """Return the page with `text` between the markers called `name`.

    Raises:
        ValueError: where the page has no such markers.
    """
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, begin, rest = page.partition(first)
    _, end, tail = rest.partition(last)
    if not end:
        raise ValueError(f"page: has no {first} … {last}; put them where the text goes")
    return f"{head}{begin}\n\n{text}\n\n{end}{tail}"
