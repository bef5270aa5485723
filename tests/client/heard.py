"""What was asked of a provider and what came of it, in the words of a table."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qcheck.records import Attempt


@dataclass(frozen=True)
class Heard:
    """What was sent and what came of it."""

    path: str
    asked: Mapping[str, Any]
    headers: Mapping[str, str]
    attempts: list[Attempt]
    waits: list[float]


# ── what of it is shown ───────────────────────────────────────────────────────────────────────────────────────────────


def outcome(heard: Heard) -> str:
    """How it ended, and why if it failed."""
    *before, last = heard.attempts
    again = f"after {len(before)} more tries" if len(before) > 1 else "after another try" if before else ""
    if last.response is not None:
        return f"answered {again}".strip()
    ended = "unavailable" if last.fatal else "failed"
    return " ".join(filter(None, (ended, again))) + f": {code(last.error)}"


def text(heard: Heard) -> str:
    """The text of the answer."""
    return "text " + code(heard.attempts[-1].response.text)


def reasoning(heard: Heard) -> str:
    """The reasoning, apart from the text."""
    response = heard.attempts[-1].response
    return f"text {code(response.text)}, reasoning {code(response.reasoning)}"


def calls(heard: Heard) -> str:
    """What is called, and how that is said to be the end."""
    response = heard.attempts[-1].response
    made = ", ".join(code(f"{c.name}({c.arguments})") for c in response.tool_calls)
    return f"{made or 'no call'}; finish {code(response.finish_reason)}"


def lists(heard: Heard) -> str:
    """The tokens listed at each position, by key."""
    positions = heard.attempts[-1].response.positions
    if not positions:
        return "no log-probabilities"
    return "; ".join(", ".join(f"{code(key)} {value:g}" for key, value in p.top) or "empty list" for p in positions)


def usage(heard: Heard) -> str:
    """Tokens and dollars."""
    r = heard.attempts[-1].response
    parts = (("in", r.prompt_tokens), ("cached", r.cached_tokens), ("out", r.completion_tokens), ("USD", r.cost_usd))
    return ", ".join(f"{name} {value}" for name, value in parts if value is not None) or "no usage"


def labels(heard: Heard) -> str:
    """Who says that he answered, and how it ended."""
    r = heard.attempts[-1].response
    parts = (("model", r.reported_model), ("upstream", r.upstream), ("finish", r.finish_reason))
    return ", ".join(f"{name} {code(value)}" for name, value in parts if value is not None)


def wait(heard: Heard) -> str:
    """How long it waited before another try; jitter makes it up to a tenth longer, and never more than 60 s."""
    return f"waits {int(heard.waits[0])} s or a little more" if heard.waits[0] < 60 else "waits 60 s"


def error(heard: Heard) -> str:
    """What the first try is said to have failed of."""
    return code(heard.attempts[0].error)


def sent(*names: str) -> Callable[[Heard], str]:
    """These fields of what was asked."""

    def shown(heard: Heard) -> str:
        asked = {name: heard.asked[name] for name in names if name in heard.asked}
        without = [name for name in names if name not in heard.asked]
        return ", ".join(
            (["asks " + code(json.dumps(asked, ensure_ascii=False))] if asked else [])
            + ([f"not {' or '.join(map(code, without))}"] if without else [])
        )

    return shown


def path(heard: Heard) -> str:
    """Where it was asked."""
    return f"asks {code(heard.path)}"


def agent(heard: Heard) -> str:
    """The User-Agent, without the version."""
    return f"User-Agent {code(heard.headers['user-agent'].split('/')[0] + '/…')}"


def code(value: str) -> str:
    """A text as code in a table."""
    return "`" + value.replace("|", "\\|").replace("\n", "\\n") + "`" if value else "empty"
