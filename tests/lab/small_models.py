"""Small llama models with random weights, dense or a mixture of experts, with a part of the lab's vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH, FEED_FORWARD, KV_WIDTH = 256, 256, 128
VOCABULARY, SPECIALS_AND_BYTES = 512, 5 + 256  # every later token is the result of one merge, in order


def write_small_model(
    path: Path, release: Path, *, layers: int = 2, experts: int = 0, kv_heads: int = 2, untied: bool = False
) -> None:
    """An F16 model with metadata and embedding of `release`, routers and norms in F32, as llama.cpp's converter writes.

    experts: how many, of which two answer each token; 0 for a dense model.
    """
    source = gguf.GGUFReader(release)
    writer = gguf.GGUFWriter(path, "llama")
    changed: dict[str, Any] = {
        "llama.vocab_size": VOCABULARY,
        "llama.block_count": layers,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count_kv": kv_heads,
    }
    kept = {
        "tokenizer.ggml.tokens": VOCABULARY,
        "tokenizer.ggml.token_type": VOCABULARY,
        "tokenizer.ggml.merges": VOCABULARY - SPECIALS_AND_BYTES,
    }
    changed |= {key: source.fields[key].contents(slice(count)) for key, count in kept.items()}
    for key, field in source.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind, *inner = field.types
            writer.add_key_value(
                key, changed[key] if key in changed else field.contents(), kind, inner[-1] if inner else None
            )
    rng = np.random.default_rng(1)

    def add(name: str, *shape: int, dtype: type = np.float16) -> None:
        writer.add_tensor(f"{name}.weight", (rng.standard_normal(shape) / 16).astype(dtype))

    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    embedding = next(t.data for t in source.tensors if t.name == "token_embd.weight")
    for name in ("token_embd", *(["output"] if untied else [])):
        writer.add_tensor(f"{name}.weight", np.array(embedding[:VOCABULARY]))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    stack = (experts,) if experts else ()
    for i in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", np.ones(WIDTH, np.float32))
        for part, rows in (("q", WIDTH), ("k", KV_WIDTH), ("v", KV_WIDTH), ("output", WIDTH)):
            add(f"blk.{i}.attn_{part}", rows, WIDTH)
        if experts:
            add(f"blk.{i}.ffn_gate_inp", experts, WIDTH, dtype=np.float32)
        for part in ("gate", "up", "down"):
            add(f"blk.{i}.ffn_{part}{'_exps' if experts else ''}", *stack, FEED_FORWARD, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
