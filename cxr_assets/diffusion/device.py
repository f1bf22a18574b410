"""Which device and number format a step computes with."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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


def computes_in(precision: Precision, device: torch.device) -> torch.dtype:
    """Number format that matrix products are in: the one asked for, or fp32 where the processor only imitates bf16."""
    return torch.float32 if precision == "bf16" and not computes_in_bf16(device.type) else DTYPES[precision]


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """Mixed precision of a forward pass; no context at all for fp32.

    bf16 is fp32 where the processor has none: imitated, a training step takes many times as long.
    """
    if computes_in(precision, device) == torch.float32:
        return contextlib.nullcontext()
    if precision == "fp16" and device.type == "cpu":
        raise SettingsError("precision 'fp16' is for GPUs; use bf16 or fp32 on a CPU.")
    return torch.autocast(device.type, DTYPES[precision])


def attention_to_learn(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """The attention that is quickest to train in; open it around forward and backward pass alike.

    torch's fused attention is slow backwards in bf16 on a CPU (torch 2.15: a step of the phantom base took 1.4 times as
    long with it), so the plain one stands in there. Elsewhere torch chooses.
    """
    if device.type == "cpu" and computes_in(precision, device) == torch.bfloat16:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()


@contextlib.contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """Yields a list that holds, after the block, the most memory in use during it, in MiB.

    On a GPU what torch had allocated there; on the CPU the resident memory of the process, looked at five times a second,
    and nothing where the system does not tell it (``/proc``).
    """
    found: list[float] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found.append(torch.cuda.max_memory_allocated(device) / 2**20)
        return
    done, seen = threading.Event(), [0.0]

    def look() -> None:
        while True:
            with contextlib.suppress(OSError, StopIteration, ValueError):
                lines = Path("/proc/self/status").read_text().splitlines()
                seen[0] = max(seen[0], int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) / 1024)
            if done.wait(0.2):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
        found += [seen[0]] if seen[0] else []
