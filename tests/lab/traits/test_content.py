from __future__ import annotations

from fake_engine import PROMPT_TOKENS, serving


async def test_the_cache_repeats_the_first_answer():
    async with serving("honest?cache&noise=0.1") as provider:
        first, second = await provider.chat("x"), await provider.chat("x")
        other = await provider.chat("x", temperature=1)
        assert len(provider.engines["honest"].asked) == 2
    assert first["usage"].pop("prompt_tokens_details") == {"cached_tokens": 0}
    assert second["usage"].pop("prompt_tokens_details") == {"cached_tokens": PROMPT_TOKENS}
    assert second == first
    assert other["choices"] != first["choices"]
    assert [(row["deployment"], row["traits"]) for row in provider.truth()] == [
        ("honest", ["noise"]),
        ("honest", ["cache", "noise"]),
        ("honest", ["noise"]),
    ]


async def test_chats_and_completions_are_cached_apart():
    body = {"messages": [], "prompt": "x"}
    async with serving("honest?cache") as provider:
        assert "message" in (await provider.post(body)).json()["choices"][0]
        assert "text" in (await provider.post(body, "completions")).json()["choices"][0]


async def test_failures_are_not_cached():
    async with serving("honest?cache&reject=seed") as provider:
        for _ in range(2):
            assert (await provider.post({"messages": [], "seed": 1})).status_code == 400
        assert [row["traits"] for row in provider.truth()] == [["reject"]] * 2


async def test_the_filter_refuses_its_share_of_prompts_and_always_the_same():
    """120 prompts at 20 %: 24 ± 4.4; three standard deviations, and the seed is fixed."""
    async with serving("honest?filter=0.2") as provider:

        async def is_refused(prompt: str, temperature: float) -> bool:
            answer = await provider.chat(prompt, temperature=temperature)
            refused = answer["choices"][0]["finish_reason"] == "content_filter"
            assert refused is ("can't help" in answer["choices"][0]["message"]["content"])
            assert refused is ("logprobs" not in answer["choices"][0])
            assert answer["usage"]["completion_tokens"] == (0 if refused else 1)
            row = provider.truth()[-1]
            assert (row["deployment"], row["traits"]) == ((None, ["filter"]) if refused else ("honest", []))
            return refused

        first = [await is_refused(str(i), 0) for i in range(120)]
        assert [await is_refused(str(i), 1) for i in range(120)] == first
    assert 11 <= sum(first) <= 37


async def test_completions_are_filtered_in_their_form():
    async with serving("honest?filter=1") as provider:
        choice = (await provider.post({"prompt": "x", "logprobs": 2}, "completions")).json()["choices"][0]
        assert choice == {
            "index": 0,
            "text": "I'm sorry, but I can't help with that.",
            "finish_reason": "content_filter",
        }
