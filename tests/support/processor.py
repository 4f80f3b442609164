"""What this machine's processor can do, which decides what some kernels give."""

from __future__ import annotations

import pytest
import torch

# Without these instructions, kernels of uint8 × int8 add products in 16 bits, and saturate.
VNNI: bool = torch.cpu._is_vnni_supported()
REASON = "this processor has no VNNI, so these kernels saturate"
needs_vnni = pytest.mark.skipif(not VNNI, reason=REASON)
