"""Where images come from: mnist5k, CIFAR-10, class folders, archives.

read           from the section `data` of params.yaml to a data set; mnist5k, the split
cifar10        CIFAR-10 from a disk, a mirror or the origin
fetch          one file from the network, in bounded time and space
class_folders  images in `train/<class>/` and `test/<class>/`
decode         an image's file to pixels
form           images of any size and color to those that a run asks for
archives       files in a folder, a tar or a zip, read without extracting them
ignored        files of the operating system, which never matter
place          where they lie
digest         what they are, cheap where nothing changed
params         the section `data` of params.yaml
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "place": ["location"],
        "read": ["mnist5k", "read_dataset", "split"],
        "params": ["Source"],
    },
)
