"""The key `data.normalize` of params.yaml."""

from __future__ import annotations

from typing import Literal

Normalize = Literal["dyadic", "standard"]  # how a pixel becomes a number, see normalization.py
