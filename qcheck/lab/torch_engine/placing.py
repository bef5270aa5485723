"""Bring a decoder to the device that is to compute it, in that device's own arithmetic where this is asked for."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from qcheck.lab.catalog import CudaSettings, TorchSettings
from qcheck.lab.decoder import Decoder

__all__ = ["placed"]

E4M3: Final = torch.float8_e4m3fn
LARGEST: Final = torch.finfo(E4M3).max
SMALLEST_SCALE: Final = 1e-12  # of a row of zeros


class Fp8Linear(nn.Module):
    """A linear layer multiplied in FP8 E4M3, as servers do: a scale for each output channel and for each token."""

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        rows, scale = _scaled(layer.weight.data)
        self.register_buffer("weight", rows)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """x: (…, inputs) in bfloat16."""
        rows, scale = _scaled(x.flatten(0, -2))
        if not len(rows):
            return x.new_empty(*x.shape[:-1], len(self.weight))
        out = torch._scaled_mm(rows, self.weight.t(), scale, self.scale.t(), out_dtype=x.dtype)
        return out.view(*x.shape[:-1], -1)


def _scaled(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a matrix in FP8, and what they are multiplied by, (rows, 1) float32."""
    scale = (matrix.abs().amax(-1, keepdim=True).float() / LARGEST).clamp_min(SMALLEST_SCALE)
    return (matrix.float() / scale).clamp(-LARGEST, LARGEST).to(E4M3), scale


def _in_fp8(decoder: Decoder) -> None:
    """Put FP8 layers in the place of all linear ones but routers; the embedding is none."""
    for parent in list(decoder.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear) and name != "router":
                setattr(parent, name, Fp8Linear(layer))


def placed(decoder: Decoder, settings: TorchSettings) -> Decoder:
    """The decoder, brought to the device that its settings name; it is changed in place."""
    if isinstance(settings, CudaSettings):
        torch.backends.cuda.matmul.allow_tf32 = settings.tf32
        decoder = decoder.to("cuda")
        if settings.fp8:
            _in_fp8(decoder)
    return decoder
