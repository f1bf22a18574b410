from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from cxr_assets.diffusion.config import Precision
from cxr_assets.diffusion.device import attention_to_learn, autocast, computes_in_bf16, pick_device
from cxr_assets.errors import SettingsError

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """What the processor is said to have."""
    has: dict[str, bool] = {"avx2": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    computes_in_bf16.cache_clear()
    yield has
    computes_in_bf16.cache_clear()


def product(precision: Precision) -> torch.dtype:
    with autocast(CPU, precision):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_fp32_is_left_alone_and_fp16_is_for_gpus() -> None:
    assert product("fp32") == torch.float32
    assert isinstance(autocast(CPU, "fp32"), contextlib.nullcontext)
    with pytest.raises(SettingsError, match="bf16 or fp32 on a CPU"):
        autocast(CPU, "fp16")


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bf16_is_used_where_the_processor_has_it(processor: dict[str, bool], feature: str) -> None:
    processor[feature] = True
    assert product("bf16") == torch.bfloat16


def test_bf16_is_fp32_where_it_would_be_imitated(processor: dict[str, bool]) -> None:
    assert not computes_in_bf16("cpu")
    assert product("bf16") == torch.float32


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        assert pick_device("cuda").type == "cuda"
        return
    assert pick_device("auto").type in ("cpu", "mps")
    with pytest.raises(SettingsError, match="no GPU"):
        pick_device("cuda")


def test_bf16_on_a_cpu_learns_in_plain_attention(processor: dict[str, bool]) -> None:
    def fused() -> bool:
        with attention_to_learn(CPU, "bf16"):
            return torch.backends.cuda.flash_sdp_enabled()

    assert fused()  # bf16 would be imitated, so it is fp32
    processor["amx_bf16"] = True
    computes_in_bf16.cache_clear()
    assert not fused()
    assert torch.backends.cuda.flash_sdp_enabled()
