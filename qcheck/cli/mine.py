"""`qcheck suite new`: make a suite of probes that tell most."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qcheck.cli.options import (
    AllowHttp,
    Budget,
    Concurrency,
    Deadline,
    DryRun,
    EnvFile,
    duration_s,
    examples,
    messages_of,
    positive_usd,
    split,
)
from qcheck.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from qcheck.baselines import Baseline
    from qcheck.cli.messages import Messages
    from qcheck.jobs.mine import Mined, Source, Wanted
    from qcheck.registry.types import Endpoint, ModelProfile
    from qcheck.run.budget import Limits
    from qcheck.suites import Suite

__all__ = ["EPILOG", "new"]

EPILOG = examples(
    "qcheck suite new few-words --model lab-tiny --for greedy --from lab/honest-f32,lab/honest-torch-bf16 "
    "--against lab/q4_k_m,lab/fp8",
    "qcheck suite new border --model kimi-k2.6 --for greedy --from vllm,sglang --gap 0.1:0.2 --dry-run",
    "qcheck suite new steady --model lab-moe --for logprobs --from lab/honest-f32,lab/honest-torch-bf16",
    "",
    "Then record references with it: `qcheck baseline record MODEL --suite suites/few-words --provider …`.",
)
# More than a step of bfloat16 logits between 8 and 16; where all tokens of a path must hold, one and a half of them.
MARGIN_NATS = {"greedy": 0.065, "logprobs": 0.1}
GAP_NATS = (0.05, 0.15)
FRACTIONS = (1.0, 0.1)
NOTES_PER_SOURCE = 10


def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The suite's name.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model that is served.")],
    purpose: Annotated[
        Literal["greedy", "logprobs"],
        typer.Option("--for", help="What providers will be judged by: their text, or their log-probabilities."),
    ],
    honest: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="REF,REF,…",
            help="Two or more providers, as in `qcheck compare`, that serve the model as released, each another way "
            "(engine, arithmetic). With three the third says how often such a one differs on the chosen prompts.",
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="VARIANT,…", help="Providers of known deviations to tell apart.", show_default=False),
    ] = None,
    pool: Annotated[
        str,
        typer.Option(
            metavar="POOL", help="Prompts to choose from: a suite, or a file of JSON lines with `messages` in each."
        ),
    ] = "logprobs",
    size: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The most prompts of each kind.", show_default="all"),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="NATS",
            help="How sure references and variant must be of different first tokens; for log-probabilities, how sure "
            "the references must be of each token of an answer.",
            show_default=f"{MARGIN_NATS['greedy']:g}; {MARGIN_NATS['logprobs']:g} for log-probabilities",
        ),
    ] = None,
    gap: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Take prompts, too, on which the references prefer their first token by so many nats: they tell of "
            "deviations that nobody recorded.",
            show_default=f"{GAP_NATS[0]:g}:{GAP_NATS[1]:g} without --against, else none",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The suite's folder.", show_default="./suites/NAME")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Draws the prompts, and deals them to the folds.")] = 0,
    concurrency: Concurrency = 4,
    budget: Budget = None,
    max_requests: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The most prompts that each is asked.", show_default="the whole pool"),
    ] = None,
    deadline: Deadline = None,
    dry_run: DryRun = False,
    env_file: EnvFile = None,
    allow_http: AllowHttp = False,
) -> None:
    """Make a suite of those prompts of a pool that tell most.

    Everybody named is asked each prompt. For `--for greedy` a prompt is taken where all references are sure of the same
    first token and a variant is sure of another one: one answer, though it be text alone, tells them apart. For `--for
    logprobs` it is taken where all references are sure of each token of the same answer, of four at most: on a mixture
    of experts most honest answers then agree at some of them, even where a router turns. The answers are kept in the
    suite's folder: interrupted, or with another choice for the same purpose, the command asks only what is missing.
    """
    from qcheck.cli.environment import keys_for, open_environment  # --help must not load numpy
    from qcheck.jobs.mine import check, draw_pool
    from qcheck.jsonio import why_unwritable
    from qcheck.registry.loader import get_model
    from qcheck.registry.resolve import check_told, resolve_all
    from qcheck.run.budget import Limits, check_plans, check_prices

    messages = messages_of(context)
    references, variants = split(honest, "--from"), split(against, "--against") if against else []
    if len(references) < 2:
        raise ConfigurationError("--from needs two or more honest deployments: what one of them does may be its own.")
    wanted = _wanted(name, model, purpose, references, variants, pool, size, margin, gap, seed)
    folder = out or Path("suites") / name
    if (folder / "suite.json").exists():
        raise ConfigurationError(f"{folder} holds a suite already: choose another --out, or remove its suite.json.")
    if reason := why_unwritable(folder):
        raise ConfigurationError(f"no suite can be kept in {folder}: {reason}; choose another --out.")
    profile, prompts = get_model(model), draw_pool(pool, purpose, max_requests, seed, folder / "pool")
    limits = Limits(max_requests, positive_usd(budget), duration_s(deadline, "--deadline"))
    with open_environment(messages, env_file, allow_http=allow_http) as environment:
        endpoints = resolve_all([*references, *variants], profile, environment.resolvers)
        check_told(endpoints, profile)
        check_prices(limits, endpoints)
        check(wanted, prompts, endpoints)
        plan = _plan(prompts, _sources(endpoints, len(references)), concurrency)
        if dry_run:
            messages.result(plan)
            return
        check_plans(limits, endpoints, len(prompts.probes))
        keys = keys_for(endpoints, environment.variables)
        messages.note(plan)
        sources = _sources(environment.started(endpoints), len(references))
        mined = _mine(wanted, prompts, sources, profile, keys, concurrency, limits, folder, messages)
    _say(mined, messages)


def _wanted(
    name: str,
    model: str,
    purpose: Literal["greedy", "logprobs"],
    references: Sequence[str],
    variants: Sequence[str],
    pool: str,
    size: int | None,
    margin: float | None,
    gap: str | None,
    seed: int,
) -> Wanted:
    """What is asked for, with the usual numbers where none is given. Raises ConfigurationError."""
    from qcheck.evidence.choice import Criteria
    from qcheck.jobs.mine import Wanted

    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ConfigurationError("NAME is of lower-case letters, digits and dashes, a letter first.")
    if purpose == "logprobs" and (variants or gap):
        raise ConfigurationError("--against and --gap are for --for greedy: leave them out.")
    chosen = MARGIN_NATS[purpose] if margin is None else margin
    if not 0 < chosen < float("inf"):
        raise ConfigurationError(f"--margin is a number of nats above zero, not {chosen:g}.")
    near = _interval(gap) if gap else (None if variants else GAP_NATS)
    words = [f"--from {','.join(references)}", f"--pool {pool}", f"--seed {seed}"]
    if purpose == "greedy":
        words += [f"--against {','.join(variants)} --margin {chosen:g}"] if variants else []
        words += [f"--gap {near[0]:g}:{near[1]:g}"] if near else []
    else:
        words += [f"--margin {chosen:g}"]
    words += [f"--size {size}"] if size else []
    made_by = f"qcheck suite new {name} --model {model} --for {purpose} {' '.join(words)}"
    return Wanted(name, purpose, Criteria(chosen, near), size, seed, made_by)


def _interval(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"(\d*\.?\d+):(\d*\.?\d+)", text.strip())
    if match is None or not float(match[1]) < float(match[2]):
        raise ConfigurationError(f"--gap {text!r} is no LOW:HIGH in nats; write it as 0.05:0.15.")
    return float(match[1]), float(match[2])


def _sources(endpoints: Sequence[Endpoint], references: int) -> list[Source]:
    """Who is asked: that many honest deployments, then variants."""
    from qcheck.jobs.mine import Source
    from qcheck.lab.catalog import PREFIX

    names = [re.sub(r"[^a-z0-9._-]+", "-", e.name.removeprefix(PREFIX)).strip("._-") for e in endpoints]
    if "" in names or len(set(names)) < len(names):
        raise ConfigurationError("--from and --against name somebody twice, or by signs alone: give them other names.")
    return [
        Source(endpoint, name, "reference" if index < references else "variant")
        for index, (endpoint, name) in enumerate(zip(endpoints, names, strict=True))
    ]


def _plan(pool: Suite, sources: Sequence[Source], concurrency: int) -> str:
    """What asking the pool takes and costs, in one line."""
    from qcheck.jobs.estimate import SECONDS_PER_REQUEST
    from qcheck.jobs.mine import worst_cases_usd
    from qcheck.report.plan import in_dollars

    costs, prompts = worst_cases_usd(pool, sources), len(pool.probes)
    tokens = "one token" if pool.manifest.max_tokens == 1 else f"{pool.manifest.max_tokens} tokens"
    minutes = prompts * SECONDS_PER_REQUEST / concurrency / 60
    return (
        f"plan: {prompts} prompts of {tokens} to each of {', '.join(costs)}, {prompts * len(costs)} requests, "
        f"{in_dollars(costs)}, about {max(1, round(minutes))} min; answers are kept in {pool.folder}"
    )


def _mine(
    wanted: Wanted,
    pool: Suite,
    sources: Sequence[Source],
    model: ModelProfile,
    keys: dict[str, str | None],
    concurrency: int,
    limits: Limits,
    folder: Path,
    messages: Messages,
) -> Mined:
    from qcheck.cli.interrupts import run_async
    from qcheck.jobs.compare import clients
    from qcheck.jobs.mine import ask, mine

    def tell(name: str, done: int, total: int) -> None:
        if done % max(1, total // NOTES_PER_SOURCE) == 0:
            messages.note(f"{name}: {done} of {total} prompts answered")

    async def asked() -> Baseline:
        async with clients([s.endpoint for s in sources], keys, concurrency) as askers:
            return await ask(pool, sources, model, askers, concurrency, limits, tell)

    recorded = run_async(asked(), "the answers are kept: give the same command again to go on")
    return mine(wanted, pool, recorded, sources, folder)


def _say(mined: Mined, messages: Messages) -> None:
    from qcheck.report.paper import put_on

    for kind, count in mined.few.items():
        messages.note(f"left out: only {count} {kind} prompts were found, too few for an envelope; ask a larger pool")
    messages.sheet(put_on(messages.paper(), list(_parts(mined))))


def _parts(mined: Mined) -> Iterator[RenderableType]:
    from qcheck.report.paper import entry, grid
    from qcheck.suites import FOLDS

    suite = mined.suite
    folds = ", ".join(f"{len(suite.fold(fold))} {fold}" for fold in FOLDS)
    yield entry("suite", f"{suite.name} in {suite.folder}, {suite.hash}")
    yield entry("probes", f"{len(suite.probes)} of {mined.asked} prompts ({folds}); a run asks each at most once")
    variants = list(mined.strata[0].flips)
    if variants:
        yield entry("below", "on how many of the chosen prompts a variant answers otherwise than the references")
    yield ""
    rows = (
        (s.name, str(s.chosen), str(s.evaluation), *(f"{s.flips[v] / s.chosen:.1%}" for v in variants))
        for s in mined.strata
    )
    headings = ("kind", "found", "to ask", *variants)
    yield grid(headings, rows, right=range(1, len(headings)))
    for variant in variants:
        counts = ((fraction, mined.second_flip(variant, fraction)) for fraction in FRACTIONS)
        medians = " or ".join(f"{count} requests if it answers {fraction:.0%}" for fraction, count in counts if count)
        yield entry(variant, f"answers otherwise twice within {medians} (median)" if medians else "never shows")
    for stratum in mined.strata:
        if stratum.unchosen:
            name, (flips, of) = max(stratum.unchosen.items(), key=lambda item: item[1][0] / max(1, item[1][1]))
            text = f"{name} answers otherwise on {flips} of the {of} prompts that are chosen without it"
            yield entry(f"honest, {stratum.name}", text)
