"""Names of the operating system, and names that only look like them."""

import pytest

from powtwo.sources.ignored import ignored


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._cat.png", "Thumbs.db", "THUMBS.DB", "desktop.ini", "Desktop.ini", "Icon\r",
     "__MACOSX", ".ipynb_checkpoints", ".hidden.png", "$RECYCLE.BIN", "System Volume Information",
     "@eaDir", "lost+found", "cat.png:Zone.Identifier", "."],
)  # fmt: skip
def test_a_file_of_the_system_is_ignored(name):
    assert ignored(name)


@pytest.mark.parametrize(
    "name",
    [
        "cat.png",
        "Icon",
        "icon.png",
        "thumbs",
        "desktop",
        "__macosx.png",
        "a.DS_Store",
        "a.",
        "cats~",
    ],
)
def test_any_other_file_counts(name):
    assert not ignored(name)
