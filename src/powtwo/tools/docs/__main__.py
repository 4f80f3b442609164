"""Write the generated passages of README and docs: `python -m powtwo.tools.docs`. No stage."""

from pathlib import Path

from powtwo.core import files
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools.docs import markdown, pages


def main(root: Path = Path()) -> None:
    """Bring every generated passage and picture up to date."""
    with one_line_errors("docs"):
        for page, name, make in pages.passages(root):
            text = files.read_text(page)
            files.write_text(page, markdown.insert(text, name, make()))
        for picture, draw in pages.pictures(root):
            picture.write_bytes(draw())


if __name__ == "__main__":
    main()
