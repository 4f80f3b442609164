"""What operating systems and notebooks leave among images, which is no image of anybody's."""

from __future__ import annotations

# Folded to lower case, as some systems and archivers change it.
_NAMES = frozenset(
    {
        "__macosx", "icon\r", "icon\uf00d",  # macOS; the second is the first seen over SMB
        "desktop.ini", "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db",
        "$recycle.bin", "system volume information",  # Windows
        "@eadir", "lost+found",  # Synology, ext4
    }
)  # fmt: skip
_MARK = ":zone.identifier"  # Windows' note of where a file came from, as WSL shows it


def ignored(name: str) -> bool:
    """Say whether a file or folder of this name, one part of a path, is hidden or a system's own.

    Hidden are names with a leading dot: .DS_Store, ._cat.png, .ipynb_checkpoints, ...
    """
    folded = name.lower()
    return folded.startswith(".") or folded in _NAMES or folded.endswith(_MARK)
