"""What every stage shares.

files    files and folders written whole or not at all, JSON and CSV with stable bytes
arrays   .npz files whose bytes come of their arrays alone
tensors  safetensors files with an account of themselves
strict   what a file says of itself: typed models of it, refused in one line
params   types of parameters, sections, what a stage reads of params.yaml
stages   what a stage does at its start and its end
graph    networks whose layers read earlier ones
windows  kernels, strides and paddings, as numbers or lists
convolution  what a convolution does with them, in PyTorch
scratch  where files are written first, and what killed stages left there
machine  the name of the processor, the start of the process
lazy     public names of a package, imported when they are first used
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "files": ["atomic", "atomic_folder", "read_json", "write_csv", "write_json", "write_text"],
        "params": ["ParamsError", "Section", "StageParams", "Tracks", "parse_yaml"],
        "stages": ["StageError", "at_start", "code_digests", "fingerprint", "repeatable", "stage"],
    },
)
