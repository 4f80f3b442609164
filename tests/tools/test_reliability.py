"""Every test that docs/reliability.md names is there."""

from __future__ import annotations

import re

from closure import ROOT


def test_each_fault_names_a_test_that_is_there() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) > 100
    for row in rows:
        cell = re.split(r"(?<!\\)\|", row)[3]
        named = re.findall(r"`([^`]*)`", cell)
        assert named, row
        file = ""
        for path, _, test in (name.partition("::") for name in named):
            file = path or file
            text = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in text, (file, test)
