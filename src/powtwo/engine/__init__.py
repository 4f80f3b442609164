"""Fast engines, each equal to the reference in every bit.

`reference` is the definition, `float` runs integers through float convolutions, `int8` through the
CPU's int8 kernels. `auto` takes the fastest that proves exact for this network on this machine.
None has arithmetic rules of its own.
"""

from powtwo.engine.base import Engine, Reference
from powtwo.engine.choose import ENGINES, make
from powtwo.engine.floats import Float
from powtwo.engine.int8 import Int8

__all__ = ["ENGINES", "Engine", "Float", "Int8", "Reference", "make"]
