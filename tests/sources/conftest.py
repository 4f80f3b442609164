"""What the tests of sources share."""

import pytest
from image_files import Files, class_files


@pytest.fixture
def files() -> Files:
    """Return the files of three classes, by their paths."""
    return class_files()
