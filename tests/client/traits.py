"""Every known trait of a provider's dialect: what is sent, and what of the outcome shows that it is survived."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fake_provider import answer, http
from heard import Heard, agent, calls, error, labels, lists, outcome, path, reasoning, sent, text, usage, wait

from qcheck.records import Message, Request, Tool, ToolCall
from qcheck.registry.types import Dialect

REQUEST = Request("p-1", (Message("user", "Hi"),), 1, 0.0, 2)

PLAIN = Dialect()


@dataclass(frozen=True)
class Trait:
    """One trait. replies: what the provider sends, the last of them again and again. shown: of what was asked, and
    what became of it, the parts that the trait is about."""

    group: str
    words: str
    replies: tuple[bytes, ...]
    shown: tuple[Callable[[Heard], str], ...]
    dialect: Dialect = PLAIN
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    request: Request = REQUEST
    fields: Mapping[str, Any] = field(default_factory=dict)


# ── what providers send ───────────────────────────────────────────────────────────────────────────────────────────────


def reply(message: Mapping[str, Any] | None = None, logprobs: Any = None, **top: Any) -> bytes:
    """An answer with these parts, whole."""
    choice = answer()["choices"][0] | ({"message": message} if message else {})
    return http(200, {"choices": [choice | ({"logprobs": logprobs} if logprobs is not None else {})]} | top)


def chat(*tops: Any, **first: Any) -> dict[str, Any]:
    """Log-probabilities in the chat form: at each position the token `Yes`, and what it lists."""
    return {"content": [{"token": "Yes", "logprob": -0.25, "top_logprobs": top} | first for top in tops]}


def entry(token: str, logprob: Any, **more: Any) -> dict[str, Any]:
    """A listed token."""
    return {"token": token, "logprob": logprob} | more


def events(*data: Any, end: str = "[DONE]", between: str = "") -> bytes:
    """A stream of chunks."""
    lines = "".join(f"{between}data: {d if isinstance(d, str) else json.dumps(d)}\n\n" for d in (*data, end) if d)
    return http(200, lines.encode(), "Content-Type: text/event-stream")


def delta(finish: str | None = None, logprobs: Any = None, **said: Any) -> dict[str, Any]:
    """A chunk of a chat."""
    return {"choices": [{"index": 0, "delta": said, "logprobs": logprobs, "finish_reason": finish}]}


YES_NO = [entry("Yes", -0.25), entry("No", -1.5)]
OK = reply(logprobs=chat(YES_NO))
THINKS = {"content": "", "reasoning_content": "Let me see."}
LATER = {"error": {"message": "slow down", "type": "rate_limit_error"}}
ROUTED = {
    "error": {
        "code": 429,
        "message": "Provider returned error",
        "metadata": {"provider_name": "Novita", "raw": "too many requests"},
    },
    "user_id": "user_1",
}

LOGPROBS, TOKENS, REASONING, SWITCH, CALLS, ERRORS, KEEP_ALIVE, STREAMS, USAGE, PARAMETERS, ROUTING = (
    "Log-probabilities", "Tokens", "Reasoning", "Thinking off", "Tool calls", "Errors", "Keep-alive and headers",
    "Streams", "Usage", "Parameters", "Routing and ids",
)  # fmt: skip

# ── calls of functions ────────────────────────────────────────────────────────────────────────────────────────────────

ASKS = replace(REQUEST, top_logprobs=0, tools=(Tool("f", "A function.", {"type": "object"}),))
LATER_TURN = (
    *REQUEST.messages,
    Message("assistant", "", (ToolCall("f", "{}"),), "Hm."),
    Message("tool", "1"),
)
TOOL_USE_FAILED = {"message": "Failed to call a function", "code": "tool_use_failed", "failed_generation": "<f>"}
BEHIND = {
    "message": "Provider returned error",
    "code": 400,
    "metadata": {"raw": json.dumps({"error": TOOL_USE_FAILED})},
}


def calling(*calls: Any) -> bytes:
    """An answer that calls."""
    return reply({"content": None, "tool_calls": calls})


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    """A call of `f`, or a piece of one."""
    return {"type": "function", "function": {"name": "f", "arguments": arguments}} | more


def called(words: str, *replies: bytes, shown: tuple[Callable[[Heard], str], ...] = (calls,), **more: Any) -> Trait:
    """A trait of how calls come."""
    return Trait(CALLS, words, replies, shown, request=replace(ASKS, **more))


CALLED = (
    called("declared as functions, to be called or not", calling(call("{}")), shown=(sent("tools", "tool_choice"),)),
    called(
        "an earlier turn: its thought, its call, what that gave",
        OK,
        shown=(sent("messages"),),
        messages=LATER_TURN,
    ),
    called("arguments as a text", calling(call('{"a": 1}'))),
    called("arguments as an object", calling(call({"a": 1}))),
    called("arguments that are no JSON: the model's, so kept", calling(call('{"a": '))),
    called("several at once", calling(call("{}"), call('{"a": 2}'))),
    called("a call that names no function", calling({"function": {"arguments": "{}"}}), shown=(outcome,)),
    called(
        "in pieces of a stream",
        events(
            delta(tool_calls=[call('{"a"', index=0, id="x")]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
            delta(tool_calls=[call("{}", index=1, id="y")]),
            delta("tool_calls"),
        ),
    ),
    called(
        "in a stream whose calls all have the index 0, and ids of their own",
        events(
            delta(tool_calls=[call("{}", index=0, id="x")]), delta("stop", tool_calls=[call("[]", index=0, id="y")])
        ),
    ),
    called("whole in a stream, without an index", events(delta("tool_calls", tool_calls=[call("{}"), call("{}")]))),
    called(
        "HTTP 400 for a call that the provider finds invalid (Groq): an answer, and no right one",
        http(400, {"error": TOOL_USE_FAILED}),
        shown=(outcome, text, calls),
    ),
    called("the same behind an aggregator", http(400, {"error": BEHIND}), shown=(outcome, calls)),
    Trait(
        CALLS,
        "the same where no tools were declared: an error",
        (http(400, {"error": TOOL_USE_FAILED}),),
        (outcome,),
    ),
)

TRAITS = (
    Trait(
        LOGPROBS,
        "`logprobs: true, top_logprobs: k`, answered in the chat form (vLLM, llama.cpp, Ollama, Moonshot, OpenRouter)",
        (OK,),
        (sent("logprobs", "top_logprobs"), lists),
    ),
    Trait(
        LOGPROBS,
        "an integer instead (Together)",
        (reply(logprobs={"tokens": ["Yes"], "token_logprobs": [-0.25], "top_logprobs": [{"Yes": -0.25, "No": -1.5}]}),),
        (sent("logprobs", "top_logprobs"), lists),
        Dialect(logprobs="integer"),
    ),
    Trait(
        LOGPROBS,
        "asked in the chat form, answered in the older one, with the token that was taken beside the k best ones "
        "(older llama-cpp-python)",
        (
            reply(
                logprobs={
                    "text_offset": [9, 12],
                    "tokens": ["Yes", "."],
                    "token_logprobs": [-0.25, -5.5],
                    "top_logprobs": [{"Yes": -0.25, "No": -1.5}, {"!": -0.5, "": -1.0, ".": -5.5}],
                }
            ),
        ),
        (sent("logprobs", "top_logprobs"), lists),
        request=replace(REQUEST, max_tokens=2),
    ),
    Trait(
        LOGPROBS,
        "the keys of both forms, those of the older one `null` (LiteLLM at `/completions`)",
        (reply(logprobs=chat(YES_NO) | dict.fromkeys(("text_offset", "tokens", "token_logprobs", "top_logprobs"))),),
        (lists,),
    ),
    Trait(
        LOGPROBS,
        "at most 5 are accepted (Fireworks)",
        (OK,),
        (sent("top_logprobs"),),
        request=replace(REQUEST, top_logprobs=5),
    ),
    Trait(
        LOGPROBS,
        "none are offered (Groq): not asked for",
        (reply(),),
        (sent("logprobs", "top_logprobs"), outcome, lists),
        Dialect(top_logprobs_max=0),
    ),
    Trait(
        LOGPROBS,
        "HTTP 400 where they are asked for",
        (http(400, {"error": {"message": "logprobs is not supported with this model"}}),),
        (outcome,),
    ),
    Trait(
        LOGPROBS,
        "HTTP 200 with `logprobs: null` and a warning elsewhere",
        (http(200, answer() | {"warnings": ["logprobs ignored"]}),),
        (outcome, lists),
    ),
    Trait(LOGPROBS, "`top_logprobs: []`", (reply(logprobs=chat([])),), (outcome, lists)),
    Trait(
        LOGPROBS,
        '`-9999.0`, `"-inf"` and `-Infinity` for a probability of zero',
        (
            reply(
                logprobs=chat([entry("Yes", 0.0), entry("a", -9999.0), entry("b", "-inf"), entry("c", float("-inf"))])
            ),
        ),
        (lists,),
    ),
    Trait(
        LOGPROBS,
        "`null` for a log-probability",
        (reply(logprobs=chat([entry("Yes", -0.25), entry("No", None)])),),
        (lists,),
    ),
    Trait(
        LOGPROBS, "a number above zero: no log-probability", (reply(logprobs=chat([entry("Yes", 0.5)])),), (outcome,)
    ),
    Trait(
        LOGPROBS,
        "after temperature (SGLang), asked at 0.6: not the model's, so not asked for",
        (OK,),
        (sent("logprobs", "temperature"), lists),
        Dialect(after_temperature=True),
        request=replace(REQUEST, temperature=0.6),
    ),
    Trait(LOGPROBS, "after temperature, asked greedily: the model's", (OK,), (lists,), Dialect(after_temperature=True)),
    Trait(
        LOGPROBS,
        "16 tokens at least are generated: those asked for are compared",
        (reply(logprobs=chat(YES_NO, *[[entry("more", -0.5)]] * 15), usage={"completion_tokens": 16}),),
        (sent("max_tokens"), lists, usage),
    ),
    Trait(
        LOGPROBS,
        "fewer than 16 tokens are refused, which its settings say",
        (reply(logprobs=chat(YES_NO, *[[entry("more", -0.5)]] * 15)),),
        (sent("max_tokens"), lists),
        Dialect(min_tokens=16),
    ),
    Trait(
        TOKENS,
        "`bytes: null`",
        (reply(logprobs=chat([entry("Yes", -0.25, bytes=None), entry("No", -1.5, bytes=None)])),),
        (lists,),
    ),
    Trait(
        TOKENS,
        "bytes that are no text by themselves",
        (reply(logprobs=chat([entry("\ufffd", -0.25, bytes=[228, 189]), entry("\ufffd", -1.5, bytes=[228, 190])])),),
        (lists,),
    ),
    Trait(
        TOKENS,
        "a replacement character and no such bytes: never taken for another token",
        (reply(logprobs=chat([entry("\ufffd", -0.25)])),),
        (lists,),
    ),
    Trait(
        TOKENS,
        "control tokens without text, with ids (llama.cpp)",
        (reply(logprobs=chat([entry("", -0.25, id=2, bytes=[]), entry("", -1.5, id=3, bytes=[])])),),
        (lists,),
    ),
    Trait(
        TOKENS,
        "control tokens by name: never taken for text",
        (reply(logprobs=chat([entry("<|im_end|>", -0.25), entry("</s>", -1.5)])),),
        (lists,),
    ),
    Trait(
        TOKENS,
        "one string for several tokens: the most probable one is kept",
        (reply(logprobs=chat([entry("Yes", -0.25), entry("", -1.5), entry("", -1.25)])),),
        (lists,),
    ),
    Trait(
        REASONING,
        "in `reasoning_content` (Moonshot, Z.ai, llama.cpp, DeepSeek)",
        (reply({"content": "Yes", "reasoning_content": "Hm."}),),
        (reasoning,),
    ),
    Trait(
        REASONING,
        "in `reasoning` (Groq, Cerebras, Ollama)",
        (reply({"content": "Yes", "reasoning": "Hm."}),),
        (reasoning,),
    ),
    Trait(
        REASONING,
        "in `reasoning` and `reasoning_details` (OpenRouter)",
        (
            reply(
                {"content": "Yes", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}
            ),
        ),
        (reasoning,),
    ),
    Trait(
        REASONING,
        "in `reasoning_details` alone",
        (reply({"content": "Yes", "reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]}),),
        (reasoning,),
    ),
    Trait(
        REASONING,
        "inline tags in the content (Bedrock)",
        (reply({"content": "<reasoning>Hm.</reasoning>Yes"}),),
        (reasoning,),
    ),
    Trait(
        REASONING,
        "an inline block that the prompt has opened",
        (reply({"content": "Hm.</think>\n\nYes"}),),
        (reasoning,),
    ),
    Trait(
        REASONING,
        "parts of the content (Mistral)",
        (
            reply(
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                        {"type": "text", "text": "Yes"},
                    ]
                }
            ),
        ),
        (reasoning,),
    ),
    *(
        Trait(SWITCH, f"`{way}` ({who})", (OK,), (sent(*names), outcome), Dialect(thinking_off=way))
        for way, who, names in (
            ("thinking.type", "Moonshot, Z.ai, DeepSeek, MiMo", ("thinking", "reasoning_effort")),
            ("chat_template_kwargs", "vLLM, SGLang", ("chat_template_kwargs",)),
            ("enable_thinking", "Alibaba, SiliconFlow, Novita", ("enable_thinking",)),
            ("reasoning", "OpenRouter, Together", ("reasoning",)),
            ("reasoning_effort", "Groq, Cerebras", ("reasoning_effort", "thinking")),
            ("partial", "Moonshot: an answer is begun", ("messages",)),
            ("prefix", "DeepSeek, Mistral: an answer is begun", ("messages",)),
            ("assistant", "an answer is begun without a mark", ("messages",)),
            (
                "continue_final_message",
                "vLLM, SGLang: an answer is begun",
                ("messages", "continue_final_message", "add_generation_prompt"),
            ),
        )
    ),
    Trait(
        SWITCH,
        "`completions`: a whole prompt",
        (
            http(
                200,
                {
                    "choices": [
                        {
                            "text": "Yes",
                            "logprobs": {
                                "tokens": ["Yes"],
                                "token_logprobs": [-0.25],
                                "top_logprobs": [{"Yes": -0.25}],
                            },
                        }
                    ]
                },
            ),
        ),
        (path, sent("prompt", "logprobs"), text, lists),
        Dialect(thinking_off="completions"),
    ),
    Trait(
        SWITCH,
        "it thinks although it was told not to: no answer to what was asked",
        (reply(THINKS, chat(YES_NO)),),
        (outcome,),
        Dialect(thinking_off="reasoning"),
    ),
    Trait(
        SWITCH,
        "it hides its thoughts but counts them",
        (reply(usage={"completion_tokens_details": {"reasoning_tokens": 9}}),),
        (outcome,),
        Dialect(thinking_off="reasoning"),
    ),
    Trait(
        SWITCH,
        "it opens a thought with its first token",
        (reply({"content": ""}, {"content": [entry("<think>", -0.25, top_logprobs=YES_NO)]}),),
        (outcome,),
        Dialect(thinking_off="none"),
    ),
    Trait(
        SWITCH,
        "`never`: nothing of its distribution is compared",
        (reply({"content": "Yes", "reasoning": "Hm."}, usage={"prompt_tokens": 9}),),
        (sent("logprobs"), reasoning, lists, usage),
        Dialect(thinking_off="never"),
    ),
    *CALLED,
    Trait(
        ERRORS,
        "`{error: {message, type}}`",
        (http(400, {"error": {"message": "bad request", "type": "invalid"}}),),
        (outcome,),
    ),
    Trait(ERRORS, "HTTP 201 with an answer (NestJS)", (http(201, answer()),), (outcome, text)),
    Trait(ERRORS, "HTTP 202 without a body", (http(202, b""), OK), (error, outcome)),
    Trait(
        ERRORS,
        "what is wrong in which place (FastAPI)",
        (http(422, {"detail": [{"loc": ["body", "max_tokens"], "msg": "Input should be at least 16"}]}),),
        (outcome,),
    ),
    Trait(ERRORS, "OpenRouter's 429 with its upstream's words", (http(429, ROUTED), OK), (error, outcome)),
    Trait(
        ERRORS,
        "HTTP 200 with an error body",
        (http(200, {"error": {"code": 502, "message": "Provider returned error"}}), OK),
        (error, outcome),
    ),
    Trait(
        ERRORS,
        "HTTP 200 with an error body that no other try would change",
        (http(200, {"error": {"code": 402, "message": "Insufficient credits"}}),),
        (outcome,),
    ),
    Trait(
        ERRORS,
        "HTTP 200 with `object: error`",
        (http(200, {"object": "error", "message": "overloaded", "code": 503}), OK),
        (error, outcome),
    ),
    Trait(
        ERRORS,
        "`finish_reason: error` in a choice",
        (http(200, {"choices": [{"message": {"content": ""}, "finish_reason": "error"}]}), OK),
        (error, outcome),
    ),
    Trait(ERRORS, "429 without Retry-After", (http(429, LATER), OK), (outcome,)),
    Trait(ERRORS, "Retry-After as a number", (http(429, LATER, "Retry-After: 7"), OK), (wait, outcome)),
    Trait(ERRORS, "Retry-After in milliseconds", (http(429, LATER, "retry-after-ms: 2000"), OK), (wait, outcome)),
    Trait(
        ERRORS,
        "Retry-After as a date (in the past)",
        (http(429, LATER, "Retry-After: Mon, 23 Nov 2026 18:45:00 GMT"), OK),
        (wait, outcome),
    ),
    Trait(ERRORS, "Retry-After of a day", (http(429, LATER, "Retry-After: 86400"), OK), (wait, outcome)),
    Trait(
        ERRORS,
        "a retired id",
        (http(404, {"error": {"message": "Not found the model kimi-k2 or Permission denied"}}),),
        (outcome,),
    ),
    Trait(
        KEEP_ALIVE,
        "white space before the body (OpenRouter)",
        (http(200, b" \n \n\n" + json.dumps(answer()).encode()),),
        (outcome, text),
    ),
    Trait(
        KEEP_ALIVE,
        "white space before an error's body",
        (http(503, b" \n\n" + json.dumps({"error": {"message": "busy"}}).encode()), OK),
        (error, outcome),
    ),
    Trait(KEEP_ALIVE, "a User-Agent that CDNs let through", (OK,), (agent, outcome)),
    Trait(
        STREAMS,
        "an endpoint that answers in streams alone",
        (
            events(
                delta(role="assistant", content=None),
                delta(content="Ye", logprobs=chat(YES_NO)),
                delta(content="s", finish="stop"),
                {"choices": [], "usage": {"prompt_tokens": 9}},
            ),
        ),
        (sent("stream", "stream_options"), text, lists, usage),
        Dialect(stream=True),
    ),
    Trait(
        STREAMS,
        "a stream that nobody asked for",
        (events(delta(content="Yes"), delta(finish="stop")),),
        (sent("stream"), text),
    ),
    Trait(
        STREAMS,
        "comments (`: OPENROUTER PROCESSING`)",
        (events(delta(content="Yes"), delta(finish="stop"), between=": OPENROUTER PROCESSING\n\n"),),
        (text,),
        Dialect(stream=True),
    ),
    Trait(
        STREAMS,
        "a chunk with an error and `finish_reason: error`",
        (
            events(
                delta(content="Ye"),
                {"error": {"code": 502, "message": "Provider disconnected"}} | delta(finish="error"),
            ),
            OK,
        ),
        (error, outcome),
        Dialect(stream=True),
    ),
    Trait(
        STREAMS,
        "reasoning in chunks",
        (
            events(
                delta(reasoning_content="H"), delta(reasoning_content="m."), delta(content="Yes"), delta(finish="stop")
            ),
        ),
        (reasoning,),
        Dialect(stream=True),
    ),
    Trait(
        STREAMS,
        "a stream that breaks off",
        (events(delta(content="Ye"), end=""), OK),
        (error, outcome),
        Dialect(stream=True),
    ),
    Trait(
        STREAMS,
        "a plain completion",
        (events({"choices": [{"text": "Ye"}]}, {"choices": [{"text": "s", "finish_reason": "length"}]}),),
        (path, text),
        Dialect(stream=True, thinking_off="completions"),
    ),
    Trait(
        USAGE,
        "cached tokens in `prompt_tokens_details`",
        (reply(usage={"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 8}}),),
        (usage,),
    ),
    Trait(
        USAGE,
        "cached tokens beside the others (Moonshot)",
        (reply(usage={"prompt_tokens": 9, "cached_tokens": 8}),),
        (usage,),
    ),
    Trait(
        USAGE,
        "`prompt_cache_hit_tokens` (DeepSeek)",
        (reply(usage={"prompt_tokens": 9, "prompt_cache_hit_tokens": 8}),),
        (usage,),
    ),
    Trait(
        USAGE,
        "usage inside `choices[]` of a stream (Moonshot)",
        (
            events(
                delta(content="Yes"),
                {
                    "choices": [
                        {
                            "index": 0,
                            "delta": {},
                            "finish_reason": "stop",
                            "usage": {"prompt_tokens": 9, "completion_tokens": 1},
                        }
                    ]
                },
            ),
        ),
        (usage,),
        Dialect(stream=True),
    ),
    Trait(
        USAGE,
        "usage in `x_groq` of a stream (Groq)",
        (events(delta(content="Yes"), delta(finish="stop") | {"x_groq": {"usage": {"prompt_tokens": 9}}}),),
        (usage,),
        Dialect(stream=True),
    ),
    Trait(
        USAGE,
        "`cost`, `provider` and `native_finish_reason` (OpenRouter)",
        (
            http(
                200,
                {
                    "choices": [answer()["choices"][0] | {"native_finish_reason": "eos"}],
                    "provider": "Novita",
                    "model": "moonshotai/kimi-k2.6",
                    "usage": {"prompt_tokens": 9, "cost": 0.00002},
                },
            ),
        ),
        (usage, labels),
    ),
    Trait(PARAMETERS, "`max_tokens`", (OK,), (sent("max_tokens", "max_completion_tokens"),)),
    Trait(
        PARAMETERS,
        "`max_completion_tokens`, and not both",
        (OK,),
        (sent("max_tokens", "max_completion_tokens"),),
        Dialect(max_tokens="max_completion_tokens"),
    ),
    Trait(
        PARAMETERS,
        "pinned sampling (Moonshot): its temperature, and no top_p",
        (OK,),
        (sent("temperature", "top_p", "n"),),
        request=replace(REQUEST, temperature=0.6),
    ),
    Trait(PARAMETERS, "a temperature of 0 that is taken for 1e-8 (Groq)", (OK,), (sent("temperature"), outcome)),
    Trait(
        PARAMETERS,
        "`max_tokens` clamped without a word where the prompt leaves less room (Fireworks)",
        (reply(logprobs=chat(YES_NO), usage={"completion_tokens": 1}),),
        (sent("max_tokens"), lists, labels),
        request=replace(REQUEST, max_tokens=4),
    ),
    Trait(PARAMETERS, "tools in a stream are refused (llama.cpp): neither is asked", (OK,), (sent("stream", "tools"),)),
    Trait(
        ROUTING,
        "one upstream of OpenRouter",
        (OK,),
        (sent("model", "provider"),),
        extra_body={"provider": {"only": ["novita"], "allow_fallbacks": False}},
    ),
    Trait(
        ROUTING,
        "one upstream of Hugging Face",
        (OK,),
        (sent("model"),),
        fields={"model_id": "moonshotai/Kimi-K2.6:novita"},
    ),
    Trait(
        ROUTING,
        "ids in any provider's spelling are sent as they are",
        (OK,),
        (sent("model"),),
        fields={"model_id": "accounts/fireworks/models/kimi-k2p6"},
    ),
)
