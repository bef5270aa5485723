from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from qcheck.errors import LabError  # noqa: E402
from qcheck.lab.catalog import TorchSettings  # noqa: E402
from qcheck.lab.decoder import Decoder, Shape  # noqa: E402
from qcheck.lab.torch_engine.generation import Prompt, generate  # noqa: E402
from qcheck.lab.torch_engine.placing import Fp8Linear, _in_fp8, _scaled, placed  # noqa: E402

SHAPE = Shape(vocabulary=300, layers=1, experts=4, experts_used=2)
HALF_A_STEP = 1 / 16  # of three bits after the point, relative
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA is here")


def test_a_cpu_computes_the_decoder_that_was_read():
    decoder = Decoder(SHAPE)
    assert placed(decoder, TorchSettings()) is decoder
    assert not any(isinstance(module, Fp8Linear) for module in decoder.modules())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so():
    with pytest.raises(LabError, match="no GPU with CUDA is here"):
        placed(Decoder(SHAPE), TorchSettings(device="cuda"))


def test_rows_are_scaled_to_fp8_each_by_its_largest_value():
    torch.manual_seed(0)
    matrix = torch.randn(5, 64) * torch.tensor([1e-3, 1.0, 300.0, 1e6, 0.0]).unsqueeze(1)
    rows, scale = _scaled(matrix)
    back, largest = rows.float() * scale, matrix.abs().amax(1, keepdim=True)
    # Below 2^-6 the steps of E4M3 are 2^-9, and what is largest in a row is brought to 448.
    assert ((back - matrix).abs() <= HALF_A_STEP * matrix.abs() + largest * 2**-9 / 448).all()
    assert torch.equal(back[4], torch.zeros(64))
    assert (scale > 0).all()


def test_routers_and_the_embedding_are_not_brought_to_fp8():
    decoder = Decoder(SHAPE)
    linear = [name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)]
    _in_fp8(decoder)
    brought = [name for name, module in decoder.named_modules() if isinstance(module, Fp8Linear)]
    assert set(linear) - set(brought) == {"blk.0.ffn.router"}
    assert len(brought) == 4 + 3 * SHAPE.experts
    assert decoder.token_embd.weight.dtype == torch.float32


def test_an_expert_that_no_token_chose_gives_nothing():
    layer = Fp8Linear(torch.nn.Linear(32, 16, bias=False))
    assert layer(torch.empty(0, 32, dtype=torch.bfloat16)).shape == (0, 16)


@needs_gpu
@pytest.mark.parametrize("fp8", [False, True])
def test_a_gpu_says_what_a_cpu_says(fp8: bool):
    torch.manual_seed(1)
    decoder = Decoder(SHAPE).to(torch.bfloat16).eval()
    prompts = [Prompt(tuple(range(1, n)), max_tokens=1, top_logprobs=300) for n in (5, 20)]
    mine, there = (
        [dict(a.positions[0].top) for a in generate(d, prompts, eos=0, rows=4, pad_to=8)]
        for d in (decoder, placed(decoder, TorchSettings(device="cuda", fp8=fp8)))
    )
    for one, other in zip(mine, there, strict=True):
        assert max(abs(one[token] - other[token]) for token in one) < 0.2
