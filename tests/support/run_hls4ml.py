"""Convert FOLDER/network.onnx by hls4ml, compile its C and run it on FOLDER/x.npy: y.npy.

The steps are those of https://fastmachinelearning.org/hls4ml/ for QONNX; what may be chosen is the
precision of what the file says nothing of, the input.
"""

import sys
from pathlib import Path

import hls4ml
import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.util.cleanup import cleanup_model

folder = Path(sys.argv[1])
model = cleanup_model(ModelWrapper(str(folder / "network.onnx")))
to_channels_last = ConvertToChannelsLastAndClean(make_input_channels_last=True)
model = cleanup_model(model.transform(to_channels_last))  # cleaned again, for names of new nodes
options = hls4ml.utils.config_from_onnx_model(
    model, granularity="name", backend="Vitis", default_precision="fixed<32,12>"
)
program = hls4ml.converters.convert_from_onnx_model(
    model,
    hls_config=options,
    output_dir=str(folder / "program"),
    io_type="io_stream",  # io_parallel unrolls each window into code that compiles for hours
    backend="Vitis",
)
program.compile()
images = np.load(folder / "x.npy").transpose(0, 2, 3, 1)  # (N, H, W, C)
np.save(folder / "y.npy", program.predict(np.ascontiguousarray(images)))
