"""What every export says when it cannot say a network."""

from __future__ import annotations


class UnsupportedError(ValueError):
    """A network that a format cannot express: one line naming the format, the layer and why."""
