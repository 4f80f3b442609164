"""Run every stage after the float checkpoint in this process, and print what bytes they wrote.

usage: integer_tier.py ROOT BATCH_SIZE      ROOT: a checkout that has data/ and models/float
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import yaml

WRITTEN = ("models", "metrics", "plots", "exports")


def main(root: str, batch_size: str) -> None:
    os.chdir(root)
    sys.path.insert(0, str(Path("src").resolve()))
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for section in ("calibrate", "evaluate"):
        values[section]["batch_size"] = int(batch_size)
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    run(list(values["schemes"]), values["export"]["schemes"])
    files = [path for folder in WRITTEN for path in Path(folder).rglob("*") if path.is_file()]
    print(json.dumps({str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}))


def run(schemes: list[str], exported: list[str]) -> None:
    import calibrate
    import convert
    import energy
    import evaluate
    import evaluate_float
    import export
    import finetune

    evaluate_float.main()
    for scheme in schemes:
        for script in (calibrate, finetune, convert, evaluate, energy):
            script.main(scheme)
    for scheme in exported:
        export.main(scheme)


if __name__ == "__main__":
    main(*sys.argv[1:])
