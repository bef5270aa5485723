"""Train the lab's models and write their GGUF files: `python -m qcheck.lab.training --help`.

Deterministic for a fixed seed, number of steps and thread count. About 50 minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from qcheck.lab.training.corpus import SHARES, SPECIALS, documents
from qcheck.lab.training.export import write_gguf
from qcheck.lab.training.model import Decoder, Shape


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


def batches(streams: dict[str, np.ndarray], rows: int, context: int, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """Endless (rows, context + 1) windows, each row from a source drawn by its share."""
    names = list(SHARES)
    shares = np.array([SHARES[n] for n in names])
    while True:
        block = []
        for source in rng.choice(len(names), size=rows, p=shares / shares.sum()):
            stream = streams[names[source]]
            start = int(rng.integers(len(stream) - context - 1))
            block.append(stream[start : start + context + 1])
        yield torch.from_numpy(np.stack(block))


def train(model: Decoder, streams: dict[str, np.ndarray], steps: int, rows: int, rate: float, seed: int) -> None:
    """Muon on the blocks' matrices, AdamW on the rest; linear warm-up, then linear decay to zero."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("blk")]
    others = [p for n, p in model.named_parameters() if not (p.dim() == 2 and n.startswith("blk"))]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=0.02 * rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=0.004 * rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    warm = max(1, min(60, steps // 10))
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda i: min((i + 1) / warm, (steps - i) / (steps - warm)))
        for o in optimizers
    ]
    source = batches(streams, rows, model.shape.context, np.random.default_rng(seed))
    began = time.monotonic()
    for step in range(steps):
        block = next(source)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(block[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), block[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step} loss {loss.item():.3f} {time.monotonic() - began:.0f}s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qcheck.lab.training", description=__doc__)
    parser.add_argument("--corpus-root", type=Path, default=Path("/"), help="where the Debian packages are unpacked")
    parser.add_argument("--work", type=Path, default=Path("build/lab-training"), help="checkpoints and tokenizer")
    parser.add_argument("--out", type=Path, default=Path("qcheck/lab/models"), help="where the GGUF files go")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--cycles", type=int, default=2, help="how often the rate rises and decays, each over --steps")
    parser.add_argument("--resume", action="store_true", help="begin with the last cycle, from the work folder")
    parser.add_argument("--rows", type=int, default=13, help="sequences per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finetune-steps", type=int, default=30, help="steps of the `other-model` copy")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    docs = documents(args.corpus_root, rng, task_count=120_000)
    sample = [t for texts in docs.values() for t in texts[:: max(1, len(texts) // 6000)]]
    shape = Shape()
    tokenizer = train_tokenizer(sample, shape.vocabulary)
    tokenizer.save(str(args.work / "tokenizer.json"))
    streams = token_streams(docs, tokenizer, rng)

    model = Decoder(shape)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    for cycle in range(args.cycles):
        checkpoint = args.work / f"cycle-{cycle}.pt"
        if args.resume and cycle < args.cycles - 1:
            model.load_state_dict(torch.load(checkpoint))
            continue
        train(model, streams, args.steps, args.rows, 1.0, args.seed + 100 * cycle)
        torch.save(model.state_dict(), checkpoint)
    write_gguf(model.state_dict(), shape, tokenizer, args.out / "lab-tiny-f16.gguf", "lab-tiny")

    train(model, streams, args.finetune_steps, args.rows, 0.2, args.seed + 1)
    write_gguf(model.state_dict(), shape, tokenizer, args.out / "lab-tiny-finetuned-f16.gguf", "lab-tiny finetuned")


if __name__ == "__main__":
    main()
