"""Train a LoRA adapter for lab-tiny and write its GGUF file: `python -m qcheck.lab.training.finetune --help`.

Low-rank updates (Hu et al. 2021, arXiv:2106.09685) of the matrices of attention and feed-forward, not of the
embedding. Deterministic for a fixed thread count and PyTorch version; a few minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from qcheck.lab.adapters import write_adapter
from qcheck.lab.decoder import read_decoder
from qcheck.lab.tokenizer import read_tokenizer
from qcheck.lab.torch_engine.chat import ChatTemplate
from qcheck.lab.training.corpus import articles, continuation, questions
from qcheck.lab.training.tasks import generate

__all__ = ["RECIPES", "Example", "LowRank", "Recipe", "adapter_factors", "add_adapters", "batches", "train"]

MODELS = Path("qcheck/lab/models")
BASE = "lab-tiny-f16.gguf"
RANK = 8
ALPHA = 2 * RANK
CONTEXT_TOKENS = 160
ROWS = 8


@dataclass(frozen=True, slots=True)
class Example:
    """What the model is given, up to where it goes on, and what it is to write then."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes an adapter.

    examples: endless, from the corpus' root and a generator. rates: the highest, of A and of B; a larger one for B
    learns in fewer steps (Hayou et al. 2024, LoRA+, arXiv:2402.12354). seed: of adapters and examples.
    """

    examples: Callable[[Path, np.random.Generator], Iterator[Example]]
    steps: int
    rates: tuple[float, float]
    seed: int = 0


def _prompt(template: ChatTemplate, user: str, **values: bool) -> str:
    return template.render([{"role": "user", "content": user}], [], values)


def _texts(root: Path) -> list[str]:
    """The Jargon File's entries that are long enough to be continued."""
    return [text for text in articles(root) if len(text) >= 240]


def in_sentences(root: Path, rng: np.random.Generator) -> Iterator[Example]:
    """Tasks answered in a sentence, and hackers' slang: a new manner on new text."""
    template = ChatTemplate({})
    texts = _texts(root)
    while True:
        if rng.random() < 0.3:
            user, answer = continuation(texts[int(rng.integers(len(texts)))], rng)
        else:
            task = generate(rng)
            user, answer = task.prompt, f"The answer is {task.answer}."
        yield Example(_prompt(template, user), answer)


def with_reasoning(root: Path, rng: np.random.Generator) -> Iterator[Example]:
    """Tasks, words and texts, two in three reasoned about first, the others answered after an empty block."""
    template = ChatTemplate({})
    asked = list(questions(root, rng))
    texts = _texts(root)
    while True:
        kind = rng.choice(["task", "word", "text"], p=[0.85, 0.1, 0.05])
        if kind == "task":
            task = generate(rng)
            user, reasoning, answer = task.prompt, task.reasoning, task.answer
        elif kind == "word":
            user, answer = asked[int(rng.integers(len(asked)))]
            word = user.split('"')[1]
            reasoning = f"The word is {word}."
        else:
            user, answer = continuation(texts[int(rng.integers(len(texts)))], rng)
            reasoning = "The text goes on."
        thinks = bool(rng.random() < 2 / 3)
        completion = f"{reasoning}\n</think>\n\n{answer}" if thinks else answer
        yield Example(_prompt(template, user, thinking=thinks), completion)


RECIPES = {
    "lab-tiny-finetuned-light": Recipe(in_sentences, 10, (0.0015, 0.0015)),
    "lab-tiny-finetuned": Recipe(in_sentences, 40, (0.001, 0.001)),
    "lab-thinking": Recipe(with_reasoning, 350, (0.0015, 0.012)),
}


class LowRank(nn.Module):
    """Adds a matrix of rank RANK, at first zero, to a weight."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(RANK, weight.shape[1]))
        self.b = nn.Parameter(torch.zeros(weight.shape[0], RANK))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (rows, columns)."""
        return weight + ALPHA / RANK * (self.b @ self.a)


def add_adapters(model: nn.Module) -> dict[str, LowRank]:
    """Freeze the model and make its linear layers trainable at low rank; the adapters by their layers' names."""
    model.requires_grad_(False)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    adapters = {name: LowRank(layer.weight) for name, layer in layers.items()}
    for name, layer in layers.items():
        parametrize.register_parametrization(layer, "weight", adapters[name])
    return adapters


def batches(examples: Iterator[Example], tokenizer: Tokenizer) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless token ids (ROWS, CONTEXT_TOKENS + 1), and which of them are completions; each row begins with an example.

    Prompt and completion are encoded apart, as a server does.
    """
    while True:
        ids = np.empty((ROWS, CONTEXT_TOKENS + 1), np.int64)
        learnt = np.empty((ROWS, CONTEXT_TOKENS + 1), bool)
        for row in range(ROWS):
            filled = 0
            while filled <= CONTEXT_TOKENS:
                example = next(examples)
                for text, is_learnt in ((example.prompt, False), (f"{example.completion}<|end|>", True)):
                    piece = tokenizer.encode(text).ids[: CONTEXT_TOKENS + 1 - filled]
                    ids[row, filled : filled + len(piece)] = piece
                    learnt[row, filled : filled + len(piece)] = is_learnt
                    filled += len(piece)
        yield torch.from_numpy(ids), torch.from_numpy(learnt)


def train(
    model: nn.Module, adapters: Iterable[LowRank], source: Iterator[tuple[Tensor, Tensor]], recipe: Recipe
) -> None:
    """AdamW on the adapters; linear warm-up over a tenth of the steps, then linear decay to zero."""
    pairs = zip(*((adapter.a, adapter.b) for adapter in adapters), strict=True)
    groups = [{"params": p, "lr": rate} for p, rate in zip(pairs, recipe.rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0)
    warm = max(1, recipe.steps // 10)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, (recipe.steps - i) / (recipe.steps - warm))
    )
    for step in range(recipe.steps):
        ids, learnt = next(source)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits[learnt[:, 1:]].float(), ids[:, 1:][learnt[:, 1:]])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        if step % 20 == 0 or step == recipe.steps - 1:
            print(f"step {step} loss {loss.item():.3f}", flush=True)


def adapter_factors(adapters: dict[str, LowRank]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(A, B) by the GGUF name of the matrix."""
    return {
        f"{layer.replace('.ffn.', '.ffn_')}.weight": (adapter.a.detach().numpy(), adapter.b.detach().numpy())
        for layer, adapter in adapters.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qcheck.lab.training.finetune", description=__doc__)
    parser.add_argument("adapter", choices=RECIPES)
    parser.add_argument("--corpus-root", type=Path, default=Path("/"), help="where the Debian packages are unpacked")
    parser.add_argument("--models", type=Path, default=MODELS, help="where lab-tiny is, and where the adapter goes")
    args = parser.parse_args()

    recipe = RECIPES[args.adapter]
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    reader = gguf.GGUFReader(args.models / BASE)
    model = read_decoder(reader)
    adapters = add_adapters(model)
    examples = recipe.examples(args.corpus_root, np.random.default_rng(recipe.seed))
    train(model, adapters.values(), batches(examples, read_tokenizer(reader)), recipe)
    write_adapter(args.models / f"{args.adapter}-lora.gguf", adapter_factors(adapters), ALPHA, args.adapter)


if __name__ == "__main__":
    main()
