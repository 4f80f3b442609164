"""Stage convert@S: exponents in, the integer network of scheme S out."""

import sys
from pathlib import Path

from powtwo import conversion, files
from powtwo.calibrated import Calibrated
from powtwo.stage import stage


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with stage(f"convert-{scheme}", f"schemes.{scheme}") as params:
        calibrated = Calibrated.load(f"models/calibrated/{scheme}.safetensors")
        converted = conversion.convert(calibrated, scheme, params.schemes[scheme])
        for move in converted.moves:
            whose = "" if move.channel is None else f", channel {move.channel}"
            print(
                f"layer {move.layer}{whose}: {move.tensor} exponent {move.before} -> {move.after}, "
                f"to keep {move.kept}"
            )
        network = Path(f"models/integer/{scheme}.safetensors")
        with files.atomic(network) as path:
            converted.network.save(path)
        metrics = conversion.metrics(converted) | {"size_mb": network.stat().st_size / 2**20}
        files.write_json(f"metrics/convert/{scheme}.json", metrics)


if __name__ == "__main__":
    main(sys.argv[1])
