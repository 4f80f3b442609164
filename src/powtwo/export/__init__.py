"""An integer network as files for C, RTL and ONNX, whole or not at all.

bundle     the folder of a scheme: every format, a manifest, a README
steps      what formats share: layers with their shapes, biases for a floor shift
manifest   `manifest.json`: the network layer by layer, the sha256 of every file
golden     `golden.npz`: the output of every layer for a few images
c99        C99: the functions are in `network.c`, the tables are filled in by `sources`
rtl        memory images for `$readmemh`, and a testbench in Verilog that reads them
course     `weight.bin` and `input.bin` of the course's later labs
onnx       ONNX in three forms: integers alone, QDQ, QONNX
templates  texts from template files
params     the section `export` of params.yaml
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "bundle": ["FORMATS", "bundle_files", "write_bundle"],
        "onnx.graph": ["write_onnx"],
        "onnx.integer": ["to_onnx"],
        "onnx.qdq": ["to_qdq_onnx"],
        "onnx.qonnx": ["to_qonnx"],
        "steps": ["UnsupportedError"],
    },
)
