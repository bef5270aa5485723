from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from qcheck.lab.catalog import CudaSettings, TorchSettings  # noqa: E402
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
@pytest.mark.parametrize(("settings", "apart"), [(CudaSettings(), 0.02), (CudaSettings(fp8=True), 0.2)])
def test_a_gpu_says_about_what_a_cpu_says(settings: CudaSettings, apart: float):
    torch.manual_seed(1)
    decoder = Decoder(SHAPE).to(torch.bfloat16).eval()
    prompts = [Prompt(tuple(range(1, n)), max_tokens=1, top_logprobs=300) for n in (5, 20)]

    def listed() -> list[dict[int, float]]:
        return [dict(a.positions[0].top) for a in generate(decoder, prompts, eos=0, rows=4, pad_to=8)]

    here = listed()
    placed(decoder, settings)
    assert {p.device.type for p in (*decoder.parameters(), *decoder.buffers())} == {"cuda"}
    for one, other in zip(here, listed(), strict=True):
        assert 0 < max(abs(one[token] - other[token]) for token in one) < apart
