"""Results read back, figures, and the page that shows them.

- `columns`: the columns of the report: a figure each, where it comes from, how it is shown
- `reading`: metrics and tables read back, damaged ones refused
- `results`: the metrics and plots of a run, read back scheme by scheme; which scheme is best
- `tables`: the tables of the page, as data
- `systems`: published chips, and what a ratio of operations does not say
- `figures`: the pictures, a module for each kind
- `page`: the page, rendered from `templates/`
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "columns": ["LAYER_COLUMNS", "MAIN_COLUMNS", "MISSING", "SCHEME_COLUMNS", "shown"],
        "results": ["Results", "SchemeResult", "choose", "read"],
        "page": ["draw_figures", "render"],
    },
)
