"""Experiments, each `dvc exp run` in a clone of its own that shares DVC's cache.

Its modules:

    one          `inv exp NAME -s key=value`: one experiment
    sweep        `inv sweep FILE`: the points of a grid or a list, one after the other
    leaderboard  `inv leaderboard`: experiments side by side
    overrides    what an experiment changes in params.yaml, checked before any work
    worktree     the code and the parameters of the work tree, and what Git knows of experiments
    clone        where an experiment runs: made, locked, brought back, removed
    outcomes     what an experiment measured, read from its commit

Git has the results, as `refs/exps/…` of DVC; a lock says what runs; `logs/experiments/` says how
long a run took and why it failed.
"""
