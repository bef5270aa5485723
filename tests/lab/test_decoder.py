from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from qcheck.errors import LabError
from qcheck.lab.gguf_files import open_gguf, write_like

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")

from qcheck.lab.decoder import Decoder, Shape, read_decoder, read_shape  # noqa: E402
from qcheck.lab.tokenizer import read_tokenizer  # noqa: E402
from qcheck.lab.training.export import write_gguf  # noqa: E402

DENSE = Shape(vocabulary=3072, layers=2, context=64)
MIXTURE = Shape(vocabulary=3072, layers=2, feed_forward=256, experts=8, experts_used=2)

# What checkpoints are keyed by: they must stay readable.
LAYER = {f"attn_{part}.weight" for part in ("norm", "q", "k", "v", "output")} | {"ffn_norm.weight"}
PARTS = ("gate", "up", "down")
DENSE_LAYER = LAYER | {f"ffn.{part}.weight" for part in PARTS}
MIXTURE_LAYER = LAYER | {"ffn.router.weight"} | {f"ffn.experts.{i}.{part}.weight" for i in range(8) for part in PARTS}


def random_decoder(shape: Shape) -> Decoder:
    """With weights so large that every part of the network matters."""
    torch.manual_seed(1)
    decoder = Decoder(shape).eval()
    with torch.no_grad():
        for p in decoder.parameters():
            p.mul_(4 if p.dim() == 2 else 1 + 0.1 * torch.rand_like(p))
    return decoder


@pytest.mark.parametrize(("shape", "layer"), [(DENSE, DENSE_LAYER), (MIXTURE, MIXTURE_LAYER)])
def test_parameters_keep_their_names(shape: Shape, layer: set[str]):
    names = {f"blk.{i}.{name}" for i in range(2) for name in layer} | {"token_embd.weight", "output_norm.weight"}
    assert set(Decoder(shape).state_dict()) == names


@pytest.mark.parametrize("shape", [DENSE, MIXTURE])
def test_what_is_written_is_read_back(shape: Shape, release: Path, tmp_path: Path):
    original = random_decoder(shape).half().float()
    tokenizer = read_tokenizer(open_gguf(release))
    write_gguf(original.state_dict(), shape, tokenizer, tmp_path / "model.gguf", "random")
    reader = open_gguf(tmp_path / "model.gguf")
    assert read_shape(reader) == replace(shape, norm_eps=pytest.approx(1e-5))
    read = read_decoder(reader)
    assert not read.training
    assert all(torch.equal(values, original.state_dict()[name]) for name, values in read.state_dict().items())
    rounded = read_decoder(reader, torch.bfloat16).state_dict()
    assert all(
        torch.equal(values, exact) if name.endswith("router.weight") else values.dtype == torch.bfloat16
        for (name, values), exact in zip(rounded.items(), read.state_dict().values(), strict=True)
    )


def test_a_file_without_all_tensors_is_refused(release: Path, tmp_path: Path):
    source = open_gguf(release)
    kept = [(t.name, t.data, t.tensor_type) for t in source.tensors if "blk.3" not in t.name]
    write_like(source, tmp_path / "model.gguf", kept, gguf.LlamaFileType.MOSTLY_F16)
    with pytest.raises(LabError, match=r"blk\.3"):
        read_decoder(open_gguf(tmp_path / "model.gguf"))


@pytest.mark.parametrize("shape", [DENSE, MIXTURE])
@torch.inference_mode()
def test_token_by_token_from_a_cache_is_as_all_at_once(shape: Shape):
    """Rows behind padding against the same rows alone; to a few units of float32's last place."""
    decoder = random_decoder(shape)
    starts = torch.tensor([0, 5, 11])
    ids = torch.randint(0, shape.vocabulary, (3, 20))
    cache = decoder.cache(starts)
    pieces = torch.split(ids, [12, 1, 1, 3, 1, 1, 1], dim=1)
    ends = torch.tensor([piece.shape[1] for piece in pieces]).cumsum(0) - 1
    stepped = torch.stack([decoder.step(piece, cache) for piece in pieces], dim=1)
    for row, start in enumerate(starts):
        whole = decoder(ids[row : row + 1, start:])[0]
        assert whole.std() > 0.5
        torch.testing.assert_close(stepped[row], whole[ends - start], rtol=0, atol=2e-5)


@torch.inference_mode()
def test_padding_has_no_influence():
    decoder = random_decoder(DENSE)
    starts = torch.tensor([4, 0])
    ids = torch.randint(0, DENSE.vocabulary, (2, 10))
    other = ids.clone()
    other[0, :4] = torch.tensor([7, 700, 2000, 3])
    assert torch.equal(decoder.step(ids, decoder.cache(starts)), decoder.step(other, decoder.cache(starts)))


@torch.inference_mode()
def test_a_later_token_does_not_change_what_came_before():
    decoder = random_decoder(DENSE)
    ids = torch.randint(0, DENSE.vocabulary, (1, 10))
    torch.testing.assert_close(decoder(ids)[:, :6], decoder(ids[:, :6]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_everything_is_computed_in_the_type_of_the_weights(dtype: torch.dtype):
    decoder = random_decoder(MIXTURE)
    ids = torch.randint(0, MIXTURE.vocabulary, (1, 10))
    exact = decoder(ids)
    rounded = decoder.to(dtype)(ids)
    assert rounded.dtype == dtype
    assert 0 < (rounded.float() - exact).square().mean().sqrt() < 0.2 * exact.std()


@pytest.mark.parametrize("training", [False, True])
def test_experts_are_chosen_in_float32_whatever_the_type(training: bool, monkeypatch: pytest.MonkeyPatch):
    """A router of which bfloat16 would make something else, as it is used in serving and under autocast in training."""
    decoder = random_decoder(MIXTURE)
    mixture = decoder.blk[0].ffn
    x = torch.randn(1, 40, MIXTURE.width).to(torch.bfloat16)
    expected = (x.float() @ mixture.router.weight.T).softmax(-1)
    found: list[torch.Tensor] = []
    softmax = torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda *args: found.append(softmax(*args)) or found[-1])
    if training:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixture.train()(x).float().sum().backward()
        assert mixture.router.weight.grad.abs().sum() > 0
    else:
        mixture.experts.to(torch.bfloat16)
        mixture(x)
    torch.testing.assert_close(found[0].detach(), expected[0].detach(), rtol=0, atol=1e-6)


def test_the_balance_of_the_experts_is_known_in_training_alone():
    decoder = random_decoder(MIXTURE)
    ids = torch.randint(0, MIXTURE.vocabulary, (2, 30))
    decoder(ids)
    assert all(block.ffn.balance == 0 for block in decoder.blk)
    decoder.train()(ids)
    assert all(0.9 < block.ffn.balance < 8 and block.ffn.balance.requires_grad for block in decoder.blk)
