"""`qcheck providers`: whom qcheck knows by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from qcheck.cli.options import examples, messages_of
from qcheck.errors import UnknownNameError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcheck.lab.catalog import LabProvider
    from qcheck.registry.types import Dialect, Provider

__all__ = ["app"]

app = typer.Typer(help="List and show the providers that have a name.", no_args_is_help=True)


@app.command("list", epilog=examples("qcheck providers list"))
def list_(context: typer.Context) -> None:
    """List all providers: hosted ones, aggregators, engines on this machine, and the lab's."""
    from qcheck.lab.catalog import PREFIX, PROVIDERS
    from qcheck.registry.loader import load_models, load_providers
    from qcheck.report.paper import entry, grid, put_on

    messages = messages_of(context)
    models = load_models()
    rows = []
    for provider in load_providers().values():
        served = [model.name for model in models.values() if provider.name in model.ids]
        what = "whatever it was started with" if provider.local else ", ".join(served)
        rows.append((provider.name + ("/UPSTREAM" if provider.aggregator else ""), provider.title, what))
    rows += [(PREFIX + p.name, p.description, "lab-tiny") for p in PROVIDERS.values()]
    anywhere = entry("any other", "NAME=https://host/v1, with its key variable and model id in qcheck.toml")
    messages.sheet(put_on(messages.paper(), [grid(("provider", "who it is", "models"), rows), anywhere]))


@app.command(epilog=examples("qcheck providers show moonshot", "qcheck providers show lab/q4_k_m"))
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A provider of `qcheck providers list`.")],
) -> None:
    """Show a provider's address, key variable, models, prices and dialect. A key itself is never shown."""
    from qcheck.lab.catalog import PREFIX, PROVIDERS
    from qcheck.registry.loader import load_providers
    from qcheck.report.paper import put_on

    messages = messages_of(context)
    known = load_providers()
    in_lab = PROVIDERS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if in_lab is None and name not in known:
        raise UnknownNameError("provider", name, (*known, *(PREFIX + n for n in PROVIDERS)))
    parts = _lab_parts(in_lab) if in_lab else _parts(known[name])
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


def _lab_parts(provider: LabProvider) -> list[RenderableType]:
    from qcheck.lab.catalog import DEPLOYMENTS, MODEL_ID, PREFIX
    from qcheck.report.paper import entry

    return [
        entry("provider", f"{PREFIX}{provider.name}, a real engine on this machine ({provider.kind})"),
        entry("description", provider.description),
        *(entry(f"deployment {name}", DEPLOYMENTS[name].description) for name in provider.deployments),
        entry("key", "none needed"),
        entry("models", f"{MODEL_ID}, free of charge"),
    ]
