"""The float network: its architecture, its layers after folding, its file.

architecture  the VGG, built from a layout list; what params.yaml names
spec          networks that are no stack, as lists of layers
models        those with a name: resnet8, dscnn, mobilenet
graph         their modules
checkpoint    the trained network and its file, `models/float.safetensors`
folded        its layers for inference
folding       from modules to them: batch norms folded in
params        the section `model` of params.yaml
source        which files of the user's it names, as digests
python_files  what a Python file imports and names
reading       networks of others: PyTorch functions and float ONNX files
schema        what its file may say
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "architecture": ["Architecture"],
        "checkpoint": ["Checkpoint"],
        "folded": ["FoldedLayer", "logits", "outputs"],
        "folding": ["fold"],
        "spec": ["LayerSpec", "Specs"],
        "params": ["Model"],
    },
)
