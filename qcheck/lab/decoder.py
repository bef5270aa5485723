"""The lab's models in PyTorch: Llama-architecture decoders, dense or a mixture of experts, to train and to serve."""

from __future__ import annotations

import re
from dataclasses import dataclass

import gguf
import torch
import torch.nn.functional as F
from gguf.quants import dequantize
from torch import Tensor, nn

from qcheck.errors import LabError

__all__ = ["Cache", "Decoder", "FeedForward", "Mixture", "Shape", "read_decoder", "read_shape"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network. K-quants need dimensions in multiples of 256.

    experts: 0 for a dense model, else how many feed-forward networks of width `feed_forward` a layer has, of which
    `experts_used` answer each token.
    """

    vocabulary: int = 3072
    width: int = 256
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 768
    experts: int = 0
    experts_used: int = 0
    context: int = 320
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class FeedForward(nn.Module):
    """A gated feed-forward network."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(s.width, s.feed_forward, bias=False)
        self.up = nn.Linear(s.width, s.feed_forward, bias=False)
        self.down = nn.Linear(s.feed_forward, s.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (…, width)."""
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


class Mixture(nn.Module):
    """A mixture of experts as in Mixtral (arXiv:2401.04088): softmax over all, the best few, weights summing to 1."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.used = s.experts_used
        self.router = nn.Linear(s.width, s.experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(s) for _ in range(s.experts))
        self.balance = torch.zeros(())  # of the last pass in training; 1 where every expert gets the same share

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, time, width)."""
        flat = x.flatten(0, 1)
        with torch.autocast(flat.device.type, enabled=False):  # in float32, as DeepSeek-V3's server and llama.cpp do
            probabilities = F.linear(flat.float(), self.router.weight.float()).softmax(-1)
        weights, chosen = probabilities.topk(self.used, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        if self.training:
            share = F.one_hot(chosen, len(self.experts)).float().sum(1).mean(0) / self.used
            self.balance = len(self.experts) * (share * probabilities.mean(0)).sum()  # Fedus et al. 2022, eq. 4
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            rows, slot = (chosen == index).nonzero(as_tuple=True)
            answer = expert(flat.index_select(0, rows)) * weights[rows, slot].unsqueeze(-1)
            out = out.index_add(0, rows, answer.to(out.dtype))
        return out.view_as(x)


class KeyValues:
    """The keys and values of one layer for the tokens so far, each (batch, kv_heads, time, head_width)."""

    def __init__(self, empty: Tensor) -> None:
        self.keys = self.values = empty

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of the next tokens; returns all."""
        self.keys, self.values = torch.cat((self.keys, keys), 2), torch.cat((self.values, values), 2)
        return self.keys, self.values


class Cache:
    """What a decoder keeps of a batch's tokens, so that a step computes only the new ones.

    starts: (batch,) int64, how many tokens of padding each row has on its left.
    """

    def __init__(self, shape: Shape, starts: Tensor, dtype: torch.dtype) -> None:
        empty = torch.empty(len(starts), shape.kv_heads, 0, shape.head_width, dtype=dtype, device=starts.device)
        self.layers = [KeyValues(empty) for _ in range(shape.layers)]
        self._starts = starts
        self._length = 0

    def advance(self, time: int) -> tuple[Tensor, Tensor]:
        """Count `time` more tokens. Returns their positions in their rows, (batch, time), and which tokens each of
        them attends to, (batch, 1, time, all tokens)."""
        columns = torch.arange(self._length + time, device=self._starts.device)
        queries = columns[self._length :, None]
        self._length += time
        starts = self._starts[:, None, None]
        # Padding attends to itself: a softmax over nothing would be NaN, and NaN spreads through the values.
        visible = (columns <= queries) & (columns >= starts) | (columns == queries)
        return (queries.squeeze(1) - self._starts[:, None]).clamp_min(0), visible.unsqueeze(1)


class Block(nn.Module):
    """Pre-norm attention with grouped queries, then a feed-forward layer."""

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
        self.ffn = Mixture(s) if s.experts else FeedForward(s)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: KeyValues | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """x: (batch, time, width); cos, sin: as in `rotate`; mask: as in `Cache.advance`, by default causal."""
        b, t, _ = x.shape
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).view(b, t, self.s.heads, -1), cos, sin).transpose(1, 2)
        k = rotate(self.attn_k(h).view(b, t, self.s.kv_heads, -1), cos, sin).transpose(1, 2)
        v = self.attn_v(h).view(b, t, self.s.kv_heads, -1).transpose(1, 2)
        if past is not None:
            k, v = past.extend(k, v)
        a = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=True)
        x = x + self.attn_output(a.transpose(1, 2).reshape(b, t, -1))
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding on interleaved pairs, llama.cpp's order, so that no permutation is needed.

    x: (batch, time, heads, head_width); cos, sin: ([batch,] time, head_width / 2).
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    c, s = cos.unsqueeze(-2), sin.unsqueeze(-2)
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
                residual = name.endswith(("attn_output.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / (2 * shape.layers) ** 0.5 if residual else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (batch, time) int64; returns the logits after every token, (batch, time, vocabulary)."""
        return self._logits(self._hidden(ids, None))

    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """Go on from `cache` with ids, (batch, time) int64; returns the logits after the last, (batch, vocabulary)."""
        return self._logits(self._hidden(ids, cache)[:, -1])

    def steps(self, ids: Tensor, cache: Cache) -> Tensor:
        """As `step`, with the logits after every token, (batch, time, vocabulary)."""
        return self._logits(self._hidden(ids, cache))

    def cache(self, starts: Tensor) -> Cache:
        """An empty cache for `step`, on the device of `starts`; see `Cache`."""
        return Cache(self.shape, starts, self.token_embd.weight.dtype)

    def _hidden(self, ids: Tensor, cache: Cache | None) -> Tensor:
        s = self.shape
        device, time = ids.device, ids.shape[1]
        positions, mask = (torch.arange(time, device=device), None) if cache is None else cache.advance(time)
        inverse = s.rope_base ** (-torch.arange(0, s.head_width, 2, dtype=torch.float32, device=device) / s.head_width)
        angles = positions.unsqueeze(-1).float() * inverse
        x: Tensor = self.token_embd(ids)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for i, block in enumerate(self.blk):
            x = block(x, cos, sin, None if cache is None else cache.layers[i], mask)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self.output_norm(x), self.token_embd.weight)


def read_shape(reader: gguf.GGUFReader) -> Shape:
    """The sizes of a GGUF file's model. Raises LabError if it is no llama."""
    values = {key.removeprefix("llama."): field.contents() for key, field in reader.fields.items()}
    try:
        return Shape(
            vocabulary=len(values["tokenizer.ggml.tokens"]),
            width=values["embedding_length"],
            layers=values["block_count"],
            heads=values["attention.head_count"],
            kv_heads=values["attention.head_count_kv"],
            feed_forward=values["feed_forward_length"],
            experts=values.get("expert_count", 0),
            experts_used=values.get("expert_used_count", 0),
            context=values["context_length"],
            rope_base=values["rope.freq_base"],
            norm_eps=values["attention.layer_norm_rms_epsilon"],
        )
    except KeyError as error:
        raise LabError(f"the model file does not say its {error}; reinstall qcheck or name a llama model.") from error


def read_decoder(reader: gguf.GGUFReader, dtype: torch.dtype = torch.float32) -> Decoder:
    """The decoder of a GGUF file in evaluation mode, its tensors brought from whatever format to `dtype`.

    Routers stay float32: rounding them would send tokens to other experts, which honest servers avoid.

    Raises LabError for a file that holds another architecture.
    """
    state: dict[str, Tensor] = {}
    for tensor in reader.tensors:
        values = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        name = tensor.name.replace(".ffn_gate_inp.", ".ffn.router.")
        if stacked := re.fullmatch(r"(blk\.\d+)\.ffn_(gate|up|down)_exps\.weight", name):
            layer, part = stacked.groups()
            state |= {f"{layer}.ffn.experts.{i}.{part}.weight": expert for i, expert in enumerate(values)}
        else:
            state[re.sub(r"\.ffn_(gate|up|down)\.", r".ffn.\1.", name)] = values
    decoder = Decoder(read_shape(reader))
    try:
        decoder.load_state_dict(state)
    except RuntimeError as error:
        raise LabError(f"the model file does not fit the lab's decoder ({error}); name another model.") from error
    for name, parameter in decoder.named_parameters():
        if not name.endswith(".router.weight"):
            parameter.data = parameter.data.to(dtype)
    return decoder.eval()
