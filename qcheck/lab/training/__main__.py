"""Train one of the lab's models and write its GGUF file: `python -m qcheck.lab.training --help`.

Deterministic for a fixed seed, number of steps, thread count and PyTorch version. 70 to 90 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from qcheck.lab.decoder import Decoder, Mixture, Shape, read_decoder
from qcheck.lab.tokenizer import read_tokenizer
from qcheck.lab.training.corpus import SHARES, SPECIALS, documents
from qcheck.lab.training.export import write_gguf

MODELS = Path("qcheck/lab/models")
BALANCE = 0.01  # weight of the experts' load-balancing loss


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes a model: its shape, and the seed of its weights, its tasks and its data order."""

    shape: Shape
    seed: int
    tokenizer_of: str | None = None


RECIPES = {
    "lab-tiny": Recipe(Shape(), 0),
    "lab-twin": Recipe(Shape(), 1, "lab-tiny"),
    "lab-moe": Recipe(Shape(layers=2, feed_forward=256, experts=8, experts_used=2), 2, "lab-tiny"),
}


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE with GPT-2's pre-tokenizer, the one that llama.cpp knows as `gpt-2`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def token_streams(docs: dict[str, list[str]], tokenizer: Tokenizer, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Each source's shuffled documents as one row of token ids."""
    streams = {}
    for name, texts in docs.items():
        order = rng.permutation(len(texts))
        encoded = tokenizer.encode_batch([texts[i] for i in order])
        streams[name] = np.concatenate([np.asarray(e.ids, dtype=np.int64) for e in encoded])
        print(f"{name}: {len(texts)} documents, {len(streams[name])} tokens", flush=True)
    return streams


def batches(
    streams: dict[str, np.ndarray], shares: dict[str, float], rows: int, context: int, rng: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Endless (rows, context + 1) windows, each row from a source drawn by its share."""
    names = list(shares)
    weights = np.array([shares[n] for n in names])
    while True:
        block = []
        for source in rng.choice(len(names), size=rows, p=weights / weights.sum()):
            stream = streams[names[source]]
            start = int(rng.integers(len(stream) - context - 1))
            block.append(stream[start : start + context + 1])
        yield torch.from_numpy(np.stack(block))


def loss_of(model: Decoder, block: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy in nats, in bf16 but for the softmax."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(block[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), block[:, 1:].flatten())


def train(model: Decoder, source: Iterator[torch.Tensor], steps: int, rate: float) -> None:
    """Muon on the blocks' matrices, AdamW on the rest; linear warm-up, then linear decay to zero."""
    named = list(model.named_parameters())
    hidden = [n for n, p in named if p.dim() == 2 and n.startswith("blk") and "router" not in n]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon([p for n, p in named if n in hidden], lr=0.02 * rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW([p for n, p in named if n not in hidden], lr=0.004 * rate, betas=(0.9, 0.95), weight_decay=0),
    ]
    warm = max(1, min(60, steps // 10))
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda i: min((i + 1) / warm, (steps - i) / (steps - warm)))
        for o in optimizers
    ]
    mixtures = [m for m in model.modules() if isinstance(m, Mixture)]
    step_loss = loss_of if mixtures else torch.compile(loss_of)
    began = time.monotonic()
    for step in range(steps):
        loss = step_loss(model, next(source))
        (loss + BALANCE * sum(m.balance for m in mixtures) if mixtures else loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step} loss {loss.item():.3f} {time.monotonic() - began:.0f}s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qcheck.lab.training", description=__doc__)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--corpus-root", type=Path, default=Path("/"), help="where the Debian packages are unpacked")
    parser.add_argument("--out", type=Path, default=MODELS, help="where the GGUF file goes")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--cycles", type=int, default=2, help="how often the rate rises and decays, each over --steps")
    parser.add_argument("--done", type=int, default=0, help="cycles behind the file in --out; go on from there")
    parser.add_argument("--rows", type=int, default=13, help="sequences per step")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    recipe = RECIPES[args.model]
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(recipe.seed)
    docs = documents(args.corpus_root, rng, task_count=120_000)
    if recipe.tokenizer_of:
        tokenizer = read_tokenizer(gguf.GGUFReader(MODELS / f"{recipe.tokenizer_of}-f16.gguf"))
    else:
        sample = [t for texts in docs.values() for t in texts[:: max(1, len(texts) // 6000)]]
        tokenizer = train_tokenizer(sample, recipe.shape.vocabulary)
    streams = token_streams(docs, tokenizer, rng)

    path = args.out / f"{args.model}-f16.gguf"
    model = read_decoder(gguf.GGUFReader(path)).train() if args.done else Decoder(recipe.shape)
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters())}), flush=True)
    for cycle in range(args.done, args.cycles):
        order = np.random.default_rng(recipe.seed + 100 * cycle)
        train(model, batches(streams, SHARES, args.rows, recipe.shape.context, order), args.steps, 1.0)
        write_gguf(model.state_dict(), recipe.shape, tokenizer, path, args.model)


if __name__ == "__main__":
    main()
