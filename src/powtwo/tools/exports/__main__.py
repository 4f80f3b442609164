"""Run every export against its network: `python -m powtwo.tools.exports [SCHEME …]`."""

import sys

from powtwo.tools.exports.verify import main

sys.exit(main(sys.argv[1:]))
