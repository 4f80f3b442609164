"""Run FOLDER/network.onnx by OpenVINO's CPU plugin on FOLDER/x.npy: y.npy."""

import sys
from pathlib import Path

import numpy as np
import openvino

folder = Path(sys.argv[1])
# Else a processor with bfloat16 or float16 would compute in these.
options = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(str(folder / "network.onnx"), "CPU", options)
np.save(folder / "y.npy", model(np.load(folder / "x.npy"))[0])
