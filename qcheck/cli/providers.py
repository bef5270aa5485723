"""`qcheck providers`: whom qcheck knows by name."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from qcheck.cli import check
from qcheck.cli.options import examples, messages_of
from qcheck.errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from qcheck.cli.messages import Messages
    from qcheck.registry.rows import PriceRow
    from qcheck.registry.types import ModelProfile, Price, Provider

__all__ = ["app"]

app = typer.Typer(
    help="List, show and update the providers that have a name; check what one offers.", no_args_is_help=True
)
app.command("check", epilog=check.EPILOG)(check.check)

UNVERIFIED = "unverified"
MAX_BYTES, TIMEOUT_S = 50_000_000, 60.0  # of models.dev's file, which had 2 MB in 2026


@app.command("list", epilog=examples("qcheck providers list", "qcheck providers list --model kimi-k2.6"))
def list_(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Only who serves this model, with ids and prices.")
    ] = None,
) -> None:
    """List all providers: hosted ones, aggregators, engines on this machine, and the lab's."""
    from qcheck.registry.loader import get_model
    from qcheck.report.paper import put_on

    messages = messages_of(context)
    messages.sheet(put_on(messages.paper(), _everybody() if model is None else _servers(get_model(model))))


def _everybody() -> Iterator[RenderableType]:
    from qcheck.lab.catalog import MODELS, PREFIX
    from qcheck.registry.loader import load_models, load_offers, load_providers
    from qcheck.report.paper import count, entry, grid

    models = load_models().values()
    rows = []
    for provider in load_providers().values():
        served = sum(provider.name in model.ids for model in models)
        what = "whatever it was started with" if provider.local else count(served, "model")
        name = provider.name + ("/UPSTREAM" if provider.dialect.pin else "")
        rows.append((name, provider.title, what, UNVERIFIED if provider.unverified and not provider.local else ""))
    rows.append((f"{PREFIX}DEPLOYMENT", "a real engine on this machine, see `qcheck lab list`", ", ".join(MODELS), ""))
    yield grid(("provider", "who it is", "models", ""), rows)
    yield entry("any other", "NAME=https://host/v1, with its key variable and model id in qcheck.toml")
    yield entry("models", ", ".join(model.name for model in models if model.ids))
    yield entry("as of", f"{load_offers().read}, {load_offers().source}")


def _servers(model: ModelProfile) -> Iterator[RenderableType]:
    from qcheck.registry.loader import load_providers
    from qcheck.report.paper import entry, grid

    thinks = ("always" if model.thinks_always else "unless told not to") if model.thinks else "never"
    first = model.first_party or "nobody that is known"
    yield entry("model", f"{model.name}, {model.title}; its makers serve it as {first}")
    for trait, value in (
        ("released precision", model.released_precision or "unknown"),
        ("thinks", thinks),
        ("dated template", "yes" if model.dated_template else "no"),
    ):
        yield entry(trait, f"{value} ({_source(model, trait.replace(' ', '_'))})")
    known = load_providers()
    rows = [
        (
            name + ("/UPSTREAM" if name in known and known[name].dialect.pin else ""),
            model.ids[name],
            *_prices(model, name),
            _remarks(model, name),
        )
        for name in sorted(model.ids, key=lambda name: [*known, name].index(name))
    ]
    yield ""
    yield grid(("provider", "its id there", "USD/Mtok in", "out", ""), rows, right=(2, 3))


def _prices(model: ModelProfile, provider: str) -> tuple[str, str]:
    return _amounts(model.prices.get(provider))


def _amounts(price: Price | PriceRow | None) -> tuple[str, str]:
    return (f"{price.input:g}", f"{price.output:g}") if price else ("unknown", "unknown")


def _remarks(model: ModelProfile, provider: str) -> str:
    today = datetime.now(UTC).date()
    remarks = []
    if day := model.retires.get(provider):
        remarks.append(f"retired {day}" if model.retired(provider, today) else f"retires {day}")
    if declared := model.declared.get(provider):
        remarks.append(f"declares {declared.precision}")
    if provider in model.temperature:
        remarks.append(f"temperature {model.temperature[provider]:g} only")
    return ", ".join(remarks)


def _source(described: ModelProfile | Provider, trait: str) -> str:
    source = described.sources.get(trait)
    return f"{source.at}, read {source.read}" if source else UNVERIFIED


@app.command(
    epilog=examples(
        "qcheck providers show moonshot",
        "qcheck providers show openrouter/novita --model kimi-k2.6",
        "qcheck providers show lab/q4_k_m",
    )
)
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A provider of `qcheck providers list`.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model, for an upstream behind an aggregator.")
    ] = None,
) -> None:
    """Show a provider's address, key variable, dialect, models and prices. A key itself is never shown.

    For an upstream of OpenRouter it is what OpenRouter lists today: its price, precision and log-probabilities.
    """
    from qcheck.lab.catalog import PREFIX
    from qcheck.registry.loader import get_model, load_providers
    from qcheck.report.paper import put_on

    messages = messages_of(context)
    known = load_providers()
    if not name.startswith(PREFIX) and (
        "=" in name or "://" in name
    ):  # which may hold a key, so that nothing of it is repeated
        raise ConfigurationError("show takes a name that `qcheck providers list` knows, no address.")
    head, _, upstream = name.partition("/")
    if upstream and head in known:
        if model is None:
            raise ConfigurationError(f"upstreams differ by model: name one, as in {name} --model kimi-k2.6.")
        messages.sheet(put_on(messages.paper(), _upstream_parts(name, get_model(model), messages)))
        return
    if model is not None:
        raise ConfigurationError("--model goes with an upstream of an aggregator, as in openrouter/novita.")
    if name not in known and not name.startswith(PREFIX):
        raise UnknownNameError("provider", name, known, "`qcheck lab list` lists those of the lab.")
    parts = _parts(known[name]) if name in known else _lab_parts(name)
    messages.sheet(put_on(messages.paper(), parts))


def _parts(provider: Provider) -> list[RenderableType]:
    from qcheck.registry.loader import load_models
    from qcheck.report.paper import entry, grid

    rows = [
        (model.name, model.ids[provider.name], *_prices(model, provider.name), _remarks(model, provider.name))
        for model in load_models().values()
        if provider.name in model.ids
    ]
    return [
        entry("provider", f"{provider.name}, {provider.title}"),
        entry("key", _key(provider)),
        entry("documented at", provider.docs or "nowhere that is known"),
        "",
        grid(("trait", "value", "where that was read"), _traits(provider)),
        grid(("model", "its id there", "USD/Mtok in", "out", ""), rows, right=(2, 3))
        if rows
        else entry("models", "whatever it was started with" if provider.local else "none is known"),
    ]


def _upstream_parts(spec: str, model: ModelProfile, messages: Messages) -> Iterator[RenderableType]:
    from qcheck.cli.environment import listings
    from qcheck.registry.config import load_user_config
    from qcheck.registry.resolve import RegistryResolver, resolve_all
    from qcheck.report.paper import entry, grid

    listing = listings(messages)
    (endpoint,) = resolve_all([spec], model, [RegistryResolver(load_user_config(), listing=listing)])
    price, declared = endpoint.price, endpoint.declared
    yield entry("provider", f"{spec}, at {endpoint.display}")
    yield entry("model", f"{model.name}, there {endpoint.model_id}")
    yield entry("USD/Mtok", f"{price.input:g} in, {price.output:g} out" if price else "unknown")
    yield entry(
        "declares", f"{declared.precision} ({declared.source}, read {declared.date})" if declared else "nothing"
    )
    found = listing(endpoint.model_id or "") if endpoint.dialect.pin == "openrouter" else None
    if found is None:
        return
    upstreams = found.pinned(*spec.split("/")[1:])
    yield entry(
        "listed", f"at {found.source}, read {found.read}" + ("" if upstreams else ", which has no such upstream")
    )
    rows = [
        (
            upstream.tag,
            upstream.precision or "unknown",
            *_amounts(upstream.price),
            {True: "yes", False: "no", None: "unknown"}[upstream.gives_logprobs],
        )
        for upstream in upstreams or found.upstreams
    ]
    yield ""
    yield grid(("upstream", "declares", "USD/Mtok in", "out", "log-probabilities"), rows, right=(2, 3))


def _key(provider: Provider) -> str:
    if provider.key_env is None:
        return "none needed"
    return f"in {provider.key_env}, which is {'set' if os.environ.get(provider.key_env, '').strip() else 'not set'}"


def _traits(provider: Provider) -> Iterator[tuple[str, str, str]]:
    dialect = provider.dialect
    values = {
        "base_url": provider.base_url,
        "key_env": provider.key_env,
        "aggregator": "yes" if provider.aggregator else None,
        "pin": dialect.pin or ("no upstream can be pinned" if provider.aggregator else None),
        "plan": "yes" if provider.plan else None,
        "logprobs": dialect.logprobs,
        "top_logprobs_max": str(dialect.top_logprobs_max),
        "after_temperature": {True: "yes", False: "no", None: "unknown"}[dialect.after_temperature],
        "max_tokens": dialect.max_tokens,
        "min_tokens": str(dialect.min_tokens),
        "stream": "yes" if dialect.stream else "no",
        "thinking_off": dialect.thinking_off or "unknown",
        "plain_samples": dialect.plain_samples or "unknown",
    }
    for trait, value in values.items():
        if value is not None:
            yield trait, value, _basis(provider, trait)


def _basis(provider: Provider, trait: str) -> str:
    """On what a trait rests."""
    if trait in provider.sources or trait in provider.unverified:
        return _source(provider, trait)
    silent = provider.undocumented.get(trait)
    return f"not documented at {silent.at}, read {silent.read}" if silent else "assumed"


@app.command(epilog=examples("qcheck providers update"))
def update(context: typer.Context) -> None:
    """Read ids and prices anew from models.dev. Never needed: qcheck ships what was known when it was made.

    Addresses and key variables stay as shipped. Exit code 3 where nothing could be read.
    """
    from qcheck.client.download import download
    from qcheck.jsonio import atomic_write
    from qcheck.registry.loader import load_offers, user_offers
    from qcheck.registry.models_dev import MODELS_DEV, changes, read_offers, to_toml
    from qcheck.report.paper import count

    messages = messages_of(context)
    before = load_offers()
    data = download(MODELS_DEV, max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S)
    after = read_offers(data, datetime.now(UTC).date(), before)
    atomic_write(user_offers(), to_toml(after))
    changed = changes(before, after)
    offers = count(sum(map(len, after.by_provider.values())), "offer")
    messages.result(
        f"updated: {offers} of {count(len(after.by_provider), 'provider')}, {changed.new} new, {changed.gone} gone, "
        f"{changed.other} with another id or price; kept in {user_offers()}."
    )


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
