"""The conformance kit: every known trait of a provider's dialect, replayed on a real socket, and what becomes of it.

`python tests/client/conformance.py` asks them all and writes the table into docs/dialects.md.
"""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from fake_provider import listening
from heard import Heard
from traits import TRAITS, Trait

from qcheck.client.transport import Client
from qcheck.registry.types import PromptFormat

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"
BEGIN, END = "<!-- table: python tests/client/conformance.py -->\n", "<!-- end of the table -->\n"

FORMAT = PromptFormat(
    user="<|user|>{content}<|end|>",
    assistant="<|assistant|>{content}<|end|>",
    system="<|system|>{content}<|end|>",
    answer="<|assistant|>",
    no_thought="<think></think>",
)


async def hear(trait: Trait) -> Heard:
    """Ask a provider that has the trait, over a real socket."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with listening(*trait.replies) as provider:
        plain = provider.endpoint(dialect=trait.dialect, extra_body=trait.extra_body, prompt_format=FORMAT)
        endpoint = replace(plain, **trait.fields)
        async with Client(endpoint, "sk-canary-0123456789", max_attempts=3, sleep=sleep) as client:
            attempts = [attempt async for attempt in client.ask(trait.request, "p", 0)]
        asked = provider.asked[-1]
    return Heard(asked.path.removeprefix("/v1"), json.loads(asked.body), asked.headers, attempts, waits)


async def table() -> str:
    """Each trait and what becomes of it, in Markdown."""
    lines = ["| | what the provider does | what qcheck makes of it |", "|---|---|---|"]
    group = ""
    for trait in TRAITS:
        heard = await hear(trait)
        shown = "; ".join(part(heard) for part in trait.shown)
        lines.append(f"| {trait.group if trait.group != group else ''} | {trait.words} | {shown} |")
        group = trait.group
    return "\n".join(lines) + "\n"


def committed() -> tuple[str, str, str]:
    """The page: what stands before the table, the table, and what follows."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    return before, table, after


def main() -> None:
    """Write the table into the page."""
    before, _, after = committed()
    PAGE.write_text(before + BEGIN + asyncio.run(table()) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
