"""The lab model: a Llama-architecture decoder, small enough to train on two cores in half an hour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network. K-quants need dimensions in multiples of 256."""

    vocabulary: int = 3072
    width: int = 256
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 768
    context: int = 320
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class Block(nn.Module):
    """Pre-norm attention with grouped queries, then a gated feed-forward layer."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        kv = s.kv_heads * s.head_width
        self.attn_norm = nn.RMSNorm(s.width, eps=s.norm_eps)
        self.attn_q = nn.Linear(s.width, s.width, bias=False)
        self.attn_k = nn.Linear(s.width, kv, bias=False)
        self.attn_v = nn.Linear(s.width, kv, bias=False)
        self.attn_output = nn.Linear(s.width, s.width, bias=False)
        self.ffn_norm = nn.RMSNorm(s.width, eps=s.norm_eps)
        self.ffn_gate = nn.Linear(s.width, s.feed_forward, bias=False)
        self.ffn_up = nn.Linear(s.width, s.feed_forward, bias=False)
        self.ffn_down = nn.Linear(s.feed_forward, s.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: (batch, time, width); cos, sin: (time, head_width / 2)."""
        b, t, _ = x.shape
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).view(b, t, self.s.heads, -1), cos, sin).transpose(1, 2)
        k = rotate(self.attn_k(h).view(b, t, self.s.kv_heads, -1), cos, sin).transpose(1, 2)
        v = self.attn_v(h).view(b, t, self.s.kv_heads, -1).transpose(1, 2)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.attn_output(a.transpose(1, 2).reshape(b, t, -1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding on interleaved pairs, llama.cpp's order, so that no permutation is needed.

    x: (batch, time, heads, head_width).
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    c, s = cos[:, None, :], sin[:, None, :]
    return torch.stack((even * c - odd * s, even * s + odd * c), dim=-1).flatten(-2)


class Decoder(nn.Module):
    """Token ids to logits, embedding tied to the output."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(p, std=0.02 / (2 * shape.layers) ** 0.5 if residual else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (batch, time) int64; returns logits (batch, time, vocabulary)."""
        s = self.shape
        inverse = s.rope_base ** (-torch.arange(0, s.head_width, 2, dtype=torch.float32) / s.head_width)
        angles = torch.arange(ids.shape[1], dtype=torch.float32)[:, None] * inverse
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, angles.cos(), angles.sin())
        return F.linear(self.output_norm(x), self.token_embd.weight)
