"""`qcheck providers`: whom qcheck knows by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from qcheck.cli.options import examples, messages_of
from qcheck.errors import UnknownNameError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcheck.registry.types import Dialect, Provider

__all__ = ["app"]

app = typer.Typer(help="List and show the providers that have a name.", no_args_is_help=True)


@app.command("list", epilog=examples("qcheck providers list"))
def list_(context: typer.Context) -> None:
    """List all providers: hosted ones, aggregators, engines on this machine, and the lab's."""
    from qcheck.lab.catalog import MODELS, PREFIX
    from qcheck.registry.loader import load_models, load_providers
    from qcheck.report.paper import entry, grid, put_on

    messages = messages_of(context)
    models = load_models()
    rows = []
    for provider in load_providers().values():
        served = [model.name for model in models.values() if provider.name in model.ids]
        what = "whatever it was started with" if provider.local else ", ".join(served)
        rows.append((provider.name + ("/UPSTREAM" if provider.aggregator else ""), provider.title, what))
    rows.append((f"{PREFIX}DEPLOYMENT", "a real engine on this machine, see `qcheck lab list`", ", ".join(MODELS)))
    anywhere = entry("any other", "NAME=https://host/v1, with its key variable and model id in qcheck.toml")
    messages.sheet(put_on(messages.paper(), [grid(("provider", "who it is", "models"), rows), anywhere]))


@app.command(epilog=examples("qcheck providers show moonshot", "qcheck providers show lab/q4_k_m"))
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A provider of `qcheck providers list`.")],
) -> None:
    """Show a provider's address, key variable, models, prices and dialect. A key itself is never shown."""
    from qcheck.lab.catalog import PREFIX
    from qcheck.registry.loader import load_providers
    from qcheck.report.paper import put_on

    messages = messages_of(context)
    known = load_providers()
    if name not in known and not name.startswith(PREFIX):
        raise UnknownNameError("provider", name, known, "`qcheck lab list` lists those of the lab.")
    parts = _parts(known[name]) if name in known else _lab_parts(name)
    messages.sheet(put_on(messages.paper(), parts))


def _parts(provider: Provider) -> list[RenderableType]:
    from qcheck.registry.loader import load_models
    from qcheck.report.paper import entry, grid

    rows = []
    for model in load_models().values():
        if provider.name in model.ids:
            price = model.prices.get(provider.name)
            shown = (f"{price.input:g}", f"{price.output:g}") if price else ("unknown", "unknown")
            rows.append((model.name, model.ids[provider.name], *shown))
    return [
        entry("provider", f"{provider.name}, {provider.title}"),
        entry("base URL", provider.base_url),
        entry("key", _key(provider)),
        entry("dialect", _dialect(provider.dialect)),
        entry("documented at", provider.docs or "nowhere that is known"),
        "",
        grid(("model", "its id there", "USD/Mtok in", "out"), rows, right=(2, 3))
        if rows
        else entry("models", "whatever it was started with" if provider.local else "none is known"),
    ]


def _key(provider: Provider) -> str:
    if provider.key_env is None:
        return "none needed"
    return f"in {provider.key_env}, which is {'set' if os.environ.get(provider.key_env, '').strip() else 'not set'}"


def _dialect(dialect: Dialect) -> str:
    most = f"top {dialect.top_logprobs_max} log-probabilities" if dialect.top_logprobs_max else "no log-probabilities"
    thinking = f"; thinking is switched off by {dialect.thinking_off}" if dialect.thinking_off else ""
    return f"{most} ({dialect.logprobs} form), {dialect.max_tokens}{thinking}"


def _lab_parts(name: str) -> list[RenderableType]:
    from qcheck.lab.catalog import MODELS, PREFIX, deployments_of
    from qcheck.lab.spec import known_traits, parse_spec
    from qcheck.report.paper import entry

    spec = parse_spec(name.removeprefix(PREFIX), next(iter(MODELS)))
    about = {trait.name: trait.about for trait in known_traits()}
    return [
        entry("provider", f"{PREFIX}{spec.spec}, a real engine on this machine"),
        *(entry(f"deployment {d}", deployments_of(spec.model)[d].description) for d in spec.deployments),
        *(entry(f"trait {trait}", about[trait]) for trait, _ in spec.traits),
        entry("key", "none needed"),
        entry("models", f"{', '.join(m for m in MODELS if spec.deployment in deployments_of(m))}, free of charge"),
    ]
