"""Run every export against its network: `python src/verify_export.py [SCHEME …]`."""

import sys
from pathlib import Path

from powtwo.tools.exports import verify


def main(schemes: list[str]) -> int:
    """Print a line for each file; return 1 where one differs."""
    differ = False
    try:
        for line in verify.verify_all(Path(), schemes):
            print(line, flush=True)
            differ |= line.outcome == "differs"
    except (ValueError, OSError) as error:
        print(f"verify-export: {error}", file=sys.stderr)
        return 1
    return int(differ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
