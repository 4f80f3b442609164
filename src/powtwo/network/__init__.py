"""The float network: its architecture, its layers after folding, its file.

architecture  the VGG, built from a layout list
checkpoint    the trained network and its file, `models/float.safetensors`
folded        its layers for inference, batch norm folded in
params        the section `model` of params.yaml
schema        what its file may say
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "architecture": ["Architecture"],
        "checkpoint": ["Checkpoint"],
        "folded": ["FoldedLayer", "fold", "logits", "outputs"],
        "params": ["Model"],
    },
)
