"""Training in bfloat16: half the bits of float32, and as wide a range."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.plugins import MixedPrecision, Precision

from xrec.errors import RecipeError


class TrainingOnly(MixedPrecision):
    """Mixed precision in training steps; what ranks, in validation, stays in float32."""

    @contextmanager
    def val_step_context(self) -> Iterator[None]:
        """Float32: scores of eight significant bits would tie."""
        yield


def plugin(precision: str) -> Precision:
    """How Lightning computes at `precision`, "32" or "bf16", on the device that it trains on.

    Raises RecipeError where that device would only imitate bfloat16, and be the slower for it.
    """
    if precision == "32":
        return Precision()
    if torch.backends.mps.is_available():
        raise RecipeError("train.precision: bf16 is for CPUs and CUDA, set it to 32 on this device")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if not (native_on_gpu() if device == "cuda" else native_on_cpu()):
        name = torch.cuda.get_device_name() if device == "cuda" else "this CPU"
        raise RecipeError(f"train.precision: {name} has no bf16 of its own, set it to 32")
    return TrainingOnly("bf16-mixed", device)


def native_on_gpu() -> bool:
    """Whether the GPU computes in bfloat16 (CUDA 8.0 and later, ROCm)."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def native_on_cpu() -> bool:
    """Whether the CPU computes in bfloat16: by AVX-512 or AMX, or on ARM."""
    has = torch.cpu.get_capabilities()
    return any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
