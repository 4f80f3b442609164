"""Hypothesis draws the same examples in every run; `--hypothesis-profile thorough` draws more.

So does damage to files: `--fuzz N` damages N files of a kind in each way.
"""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# Without a deadline, for a busy machine is no fault of the code.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("fixed")

# A shell's background job ignores Ctrl-C, and so would the programs that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=60, help="damaged files of each kind to try")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    """Return how often each test damages a file, in each way."""
    return int(request.config.getoption("--fuzz"))
