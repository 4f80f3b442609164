"""Hypothesis draws the same examples in every run; `--hypothesis-profile thorough` draws more."""

from __future__ import annotations

from hypothesis import settings

# Without a deadline, for a busy machine is no fault of the code.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("fixed")
