"""The kept runs of the loading benchmark, and their table."""

from __future__ import annotations

from powtwo.tools.docs import loading, markdown
from powtwo.tools.docs.loading import Row

ROW = Row("cifar10-jpeg", 60000, 42.0512, 2, 3, 12.345, 0.266)


def test_the_page_shows_the_committed_rows() -> None:
    page = loading.PAGE.read_text(encoding="utf-8")
    written = markdown.insert(page, "loading", loading.table(loading.read()))
    assert written == page, "stale: run `inv docs`"


def test_a_line_of_the_table_is_a_run() -> None:
    rows = [ROW, ROW._replace(source_megabytes=None)]
    *_, first, second = loading.table(rows).splitlines()
    assert first == "| `cifar10-jpeg` | 60,000 | 42.1 | 2 | 12.3 | 0.27 | 3 |"
    assert second == first.replace("42.1", "–")


def test_without_rows_the_page_says_how_to_make_one() -> None:
    assert "./inv bench load -- --keep" in loading.table([])
