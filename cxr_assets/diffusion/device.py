"""Which device and number format a step computes with."""

from __future__ import annotations

import contextlib
from functools import cache

import torch

from cxr_assets.diffusion.config import Precision
from cxr_assets.errors import SettingsError

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(wanted: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then Apple's MPS, then the CPU; a device that is not there raises SettingsError."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device 'cuda' was asked for, but torch sees no GPU. Use device: auto or cpu, or run cxr doctor."
        )
    return device


@cache
def computes_in_bf16(kind: str) -> bool:
    """Whether this machine's ``cpu`` or ``cuda`` has bf16 arithmetic of its own, and does not merely imitate it."""
    if kind == "cpu":
        can = torch.cpu.get_capabilities()
        return any(can.get(name, False) for name in ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16"))
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """Mixed precision of a forward pass; no context at all for fp32.

    bf16 is fp32 where the processor has none: imitated, a training step takes many times as long.
    """
    if precision == "fp32" or (precision == "bf16" and not computes_in_bf16(device.type)):
        return contextlib.nullcontext()
    if precision == "fp16" and device.type == "cpu":
        raise SettingsError("precision 'fp16' is for GPUs; use bf16 or fp32 on a CPU.")
    return torch.autocast(device.type, DTYPES[precision])
