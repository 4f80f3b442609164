"""What README shows is what the files hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from closure import ROOT

from powtwo import markdown, readme


def test_the_results_are_those_of_the_committed_metrics() -> None:
    page = readme.PAGE.read_text(encoding="utf-8")
    assert markdown.insert(page, "results", readme.results()) == page, "stale: run `inv docs`"


def test_the_headline_and_its_table_are_those_of_the_published_run() -> None:
    page = readme.PAGE.read_text(encoding="utf-8")
    for name, text in (("headline", readme.headline()), ("schemes", readme.published_schemes())):
        assert markdown.insert(page, name, text) == page, "stale: run `inv docs`"


def test_every_file_that_a_page_links_to_is_there() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_insert_replaces_what_stood_between_the_markers() -> None:
    page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"
    written = markdown.insert(page, "x", "new")
    assert written == "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n"
    assert markdown.insert(written, "x", "new") == written
    with pytest.raises(ValueError, match="page: has no <!-- y: begin -->"):
        markdown.insert(page, "y", "new")


def test_update_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text("<!-- x: begin --><!-- x: end -->")
    markdown.update(page, "x", "new")
    assert "\n\nnew\n\n" in page.read_text()
