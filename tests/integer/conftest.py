"""A network's file, which a test damages."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import random_network


@pytest.fixture
def path(tmp_path: Path) -> Path:
    random_network(1).save(tmp_path / "network")
    return tmp_path / "network"
