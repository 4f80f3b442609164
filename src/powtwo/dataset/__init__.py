"""The images of a run as one value, their normalization, and a few chosen of many.

images         train, validation and test images with their labels, the file they are kept in
normalization  the map from a pixel to the number that the network sees
params         the keys of params.yaml that say so
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "images": ["Dataset", "TrainTestSplit", "evenly_spaced"],
        "normalization": ["Normalization"],
    },
)
