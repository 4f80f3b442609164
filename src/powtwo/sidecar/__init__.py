"""What stands around a stage and changes no byte of an output: a dependency of none.

schema    the whole of params.yaml, put together from the packages' sections
run_log   what a stage ran on, written to logs/
one_line  errors that a user can mend, in one line
output    what is printed, on any terminal
from_the_start  the same while modules load, and --debug
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "one_line": ["one_line_errors"],
        "run_log": ["ask_git", "note", "observed"],
        "schema": ["Data", "Params", "check", "load"],
    },
)
