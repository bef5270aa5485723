from __future__ import annotations

from itertools import cycle
from pathlib import Path

import gguf
import pytest

torch = pytest.importorskip("torch")

from qcheck.lab.adapters import merge_adapter, write_adapter  # noqa: E402
from qcheck.lab.decoder import read_decoder  # noqa: E402
from qcheck.lab.tokenizer import read_tokenizer  # noqa: E402
from qcheck.lab.training.finetune import (  # noqa: E402
    RECIPES,
    Example,
    Recipe,
    adapter_factors,
    add_adapters,
    batches,
    train,
)

EXAMPLES = (
    Example("<|bos|><|user|>2 + 2<|end|><|assistant|>", "four"),
    Example("<|bos|>the beginning", " and the end"),
)


@pytest.fixture(scope="module")
def reader(release: Path) -> gguf.GGUFReader:
    return gguf.GGUFReader(release)


def test_rows_are_whole_examples_of_which_the_completions_are_learnt(reader: gguf.GGUFReader):
    tokenizer = read_tokenizer(reader)
    ids, learnt = next(batches(cycle(EXAMPLES), tokenizer))
    assert ids.shape == learnt.shape == (8, 161)
    one, other = (
        [(t, False) for t in tokenizer.encode(e.prompt).ids]
        + [(t, True) for t in tokenizer.encode(f"{e.completion}<|end|>").ids]
        for e in EXAMPLES
    )
    row = list(zip(ids[0].tolist(), learnt[0].tolist(), strict=True))
    assert row == ((one + other) * 20)[:161]
    assert ids[:, 0].eq(tokenizer.token_to_id("<|bos|>")).all()


def test_training_lowers_the_loss_of_what_is_learnt_and_the_file_says_the_same(
    reader: gguf.GGUFReader, release: Path, tmp_path: Path
):
    torch.manual_seed(0)
    base, model = read_decoder(reader), read_decoder(reader)
    adapters = add_adapters(model)
    ids, learnt = next(batches(cycle(EXAMPLES), read_tokenizer(reader)))
    ids, learnt = ids[:1, :40], learnt[:1, :40]
    with torch.inference_mode():
        assert model(ids).equal(base(ids))
    recipe = Recipe(RECIPES["lab-thinking"].examples, 6, (0.002, 0.02))
    train(model, adapters.values(), cycle([(ids, learnt)]), recipe)
    write_adapter(tmp_path / "lora.gguf", adapter_factors(adapters), 16, "test")
    merge_adapter(release, tmp_path / "lora.gguf", tmp_path / "merged.gguf")
    merged = read_decoder(gguf.GGUFReader(tmp_path / "merged.gguf"))
    with torch.inference_mode():
        before, after, kept = (m(ids).log_softmax(-1) for m in (base, model, merged))
    targets = ids[0, 1:][learnt[0, 1:]]

    def loss(log_probabilities: torch.Tensor) -> float:
        return -log_probabilities[0, :-1][learnt[0, 1:]].gather(1, targets[:, None]).mean().item()

    assert loss(after) < loss(before) - 0.5
    assert (after - kept).abs().max() < 0.05
    assert (after - before).abs().max() > 1
