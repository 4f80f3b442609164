"""Run every stage of dvc.yaml in this process, in the current folder, which has a params.yaml.

usage: every_stage.py SOURCE      SOURCE: the folder of the stages' scripts
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml


def main(source: str) -> None:
    sys.path.insert(0, source)
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    import calibrate
    import compare
    import convert
    import download
    import energy
    import evaluate
    import evaluate_float
    import export
    import finetune
    import source as source_stage
    import train

    for script in (source_stage, download, train, evaluate_float):
        script.main()
    for scheme in values["schemes"]:
        for script in (calibrate, finetune, convert, evaluate, energy):
            script.main(scheme)
    for scheme in values["export"]["schemes"]:
        export.main(scheme)
    compare.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
