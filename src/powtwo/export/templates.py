"""Texts of an export from template files, whose own syntax stays readable: C, Markdown.

`${value}` is replaced, `/*% … %*/` is a statement, `/*# … #*/` a comment that is left out.
The language: https://jinja.palletsprojects.com/templates/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    variable_start_string="${",
    variable_end_string="}",
    block_start_string="/*%",
    block_end_string="%*/",
    comment_start_string="/*#",
    comment_end_string="#*/",
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
    autoescape=False,  # neither is HTML
)


def render(file: str, **values: Any) -> str:
    """Return the text of a template file of this package, such as `c99/network.c`."""
    return _ENVIRONMENT.get_template(file).render(values)
