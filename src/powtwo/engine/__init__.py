"""Fast engines, each equal to the reference in every bit; none has arithmetic rules of its own.

base    what every engine is; the reference, which is the definition
floats  integers through float convolutions
int8    the CPU's int8 kernels
gpu     a GPU's int8 matrix products
choose  an engine by name, or the fastest that proves exact for this network on this machine
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "base": ["Engine", "Reference"],
        "choose": ["ENGINES", "make"],
        "floats": ["Float"],
        "gpu": ["Gpu"],
        "int8": ["Int8"],
    },
)
