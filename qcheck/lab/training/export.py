"""Write a trained decoder and its tokenizer as a GGUF file that llama.cpp serves."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from qcheck.lab.decoder import Shape
from qcheck.lab.training.corpus import CHAT_TEMPLATE, SPECIALS


def _tensors(state: dict[str, torch.Tensor], shape: Shape) -> dict[str, np.ndarray]:
    """Tensors by their GGUF names, the experts of a layer stacked; matrices in F16, norms and routers in F32."""
    tensors: dict[str, np.ndarray] = {}
    for key, tensor in state.items():
        values = tensor.detach().float().numpy()
        name = key.replace(".ffn.router.", ".ffn_gate_inp.").replace(".ffn.", ".ffn_")
        if ".ffn.experts." in key:
            head, _, tail = key.partition(".ffn.experts.")
            index, part, _ = tail.split(".")
            name = f"{head}.ffn_{part}_exps.weight"
            if name not in tensors:
                tensors[name] = np.empty((shape.experts, *values.shape), np.float16)
            tensors[name][int(index)] = values
        elif values.ndim == 1 or "ffn_gate_inp" in name:
            tensors[name] = values
        else:
            tensors[name] = values.astype(np.float16)
    return tensors


def write_gguf(state: dict[str, torch.Tensor], shape: Shape, tokenizer: Tokenizer, path: Path, name: str) -> None:
    """F16 for matrices, F32 for norms: the layout that llama.cpp's own converter writes."""
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name(name)
    w.add_license("Apache-2.0")
    w.add_context_length(shape.context)
    w.add_embedding_length(shape.width)
    w.add_block_count(shape.layers)
    w.add_feed_forward_length(shape.feed_forward)
    w.add_head_count(shape.heads)
    w.add_head_count_kv(shape.kv_heads)
    w.add_rope_dimension_count(shape.head_width)
    w.add_rope_freq_base(shape.rope_base)
    w.add_layer_norm_rms_eps(shape.norm_eps)
    if shape.experts:
        w.add_expert_count(shape.experts)
        w.add_expert_used_count(shape.experts_used)
    w.add_vocab_size(shape.vocabulary)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    specials = set(SPECIALS)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([control if t in specials else normal for t in tokens])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    w.add_bos_token_id(tokens.index("<|bos|>"))
    w.add_eos_token_id(tokens.index("<|end|>"))
    w.add_eot_token_id(tokens.index("<|end|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(CHAT_TEMPLATE)

    for key, values in _tensors(state, shape).items():
        w.add_tensor(key, values)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
