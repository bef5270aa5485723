"""Make a suite of the most telling prompts of a large natural pool (`qcheck.evidence.choice`).

Everybody who is named is asked every prompt of the pool once, for the twenty most probable tokens at each position: for
one token where texts are wanted, for as many as providers will be asked where log-probabilities are. Honest flips are
as systematic as a variant's, so that prompts are chosen on two honest recordings at least, and how often a deployment
that was not chosen on flips is bounded by others: by a third recording here, by the calibration later. For that the
chosen clusters are dealt to the folds at random, which makes calibration probes exchangeable with those that providers
are asked; of each cluster the best prompt alone is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from scipy import stats as scipy_stats

from qcheck.baselines import Baseline, load_baseline
from qcheck.errors import SuiteError
from qcheck.evidence.calibration import MIN_CLUSTERS
from qcheck.evidence.choice import FOLLOWED, Criteria, GreedyPaths
from qcheck.jobs.record import Recording, record
from qcheck.jobs.reference import provenance_of
from qcheck.jsonio import content_hash
from qcheck.registry.types import Endpoint, ModelProfile
from qcheck.run.budget import Limits, worst_case_usd
from qcheck.run.execute import Asker
from qcheck.suites import Fold, Manifest, Probe, Suite, load_prompts, load_suite, plain, save_suite

__all__ = [
    "Mined",
    "Purpose",
    "Source",
    "Stratum",
    "Wanted",
    "ask",
    "check",
    "deal",
    "draw_pool",
    "mine",
    "one_of_each",
    "worst_cases_usd",
]

Purpose = Literal["greedy", "logprobs"]
TOP = 20
TOKENS: Final[Mapping[Purpose, int]] = {"greedy": 1, "logprobs": 4}  # of an answer, the latter as in the shipped suite
SHARES: Final[Mapping[Fold, float]] = {"evaluation": 0.30, "selection": 0.12, "calibration": 0.58}
MIN_CHOSEN: Final = int(np.ceil(MIN_CLUSTERS / SHARES["calibration"]))  # clusters of a kind that can be calibrated


@dataclass(frozen=True, slots=True)
class Wanted:
    """What suite is to be made.

    size: prompts of a kind at most; all unless given. seed: deals the prompts to folds.
    made_by: how it is made, for its manifest.
    """

    name: str
    purpose: Purpose
    criteria: Criteria
    size: int | None
    seed: int
    made_by: str


@dataclass(frozen=True, slots=True)
class Source:
    """Somebody who is asked the pool, an honest deployment or a known deviation, and its name in the recording."""

    endpoint: Endpoint
    name: str
    role: Literal["reference", "variant"]


@dataclass(frozen=True, slots=True)
class Stratum:
    """One kind of prompts of a mined suite.

    chosen: how many there are; evaluation: how many of these are for asking providers. flips: on how many of the chosen
    each variant leaves the honest paths. unchosen: by honest deployment, its flips on what the others choose, and how
    many prompts that are; empty with fewer than three.
    """

    name: str
    chosen: int
    evaluation: int
    flips: Mapping[str, int]
    unchosen: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Mined:
    """A mined suite. asked: how many prompts everybody answered. few: kinds left out, with how many were found."""

    suite: Suite
    strata: tuple[Stratum, ...]
    few: Mapping[str, int]
    asked: int

    def second_flip(self, variant: str, fraction: float) -> int | None:
        """Median number of requests up to the second flip where `fraction` of them are the variant's; None for never.

        No verdict can come sooner. The null bounds, which are not known yet, may ask for more.
        """
        share = sum(s.flips[variant] for s in self.strata) / sum(s.chosen for s in self.strata)
        return int(scipy_stats.nbinom.ppf(0.5, 2, fraction * share)) + 2 if share > 0 else None


def draw_pool(word: str, purpose: Purpose, most: int | None, seed: int, folder: Path) -> Suite:
    """Prompts of a suite, or of a file of prompts, drawn at random, as a suite to choose from; writes nothing.

    most: how many at most. folder: where the pool will be kept. Raises UsageError.
    """
    if Path(word).is_file():
        prompts, licence = load_prompts(Path(word)), "that of the prompts it was made from"
    else:
        suite = load_suite(word)
        prompts, licence = suite.probes, suite.manifest.licence
    drawn = np.random.default_rng(seed).permutation(len(prompts))[:most]
    probes = tuple(Probe(p.id, p.cluster, "evaluation", p.messages) for p in (prompts[i] for i in drawn))
    manifest = Manifest(
        name="pool",
        version="1.0.0",
        licence=licence,
        description=f"{len(probes)} of {len(prompts)} prompts of {Path(word).name}, to choose probes from.",
        observes=["logprobs"],
        max_tokens=TOKENS[purpose],
        top_logprobs=TOP,
    )
    return Suite(manifest, probes, content_hash([plain(p) for p in probes]), folder)


def worst_cases_usd(pool: Suite, sources: Sequence[Source]) -> dict[str, float | None]:
    """The most that asking the pool can cost at each source, by name; None where the price is unknown."""

    def worst(e: Endpoint) -> float | None:
        requests = (pool.request(p, e.temperature, e.dialect.top_logprobs_max) for p in pool.probes)
        return (
            None
            if e.price is None
            else sum(worst_case_usd(request, e.price, e.dialect.min_tokens) or 0.0 for request in requests)
        )

    return {source.name: worst(source.endpoint) for source in sources}


async def ask(
    pool: Suite,
    sources: Sequence[Source],
    model: ModelProfile,
    askers: Mapping[str, Asker],
    concurrency: int,
    limits: Limits,
    on_settled: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Baseline:
    """Ask everybody the pool, side by side, and keep the answers as a baseline in the pool's folder.

    Goes on where it stopped; who has answered already is asked nothing. A budget is split in proportion to what
    everybody may cost. `on_settled` gets a source's name, how many requests are done, and how many there are.

    Raises SuiteError for a folder that holds another pool, BaselineError, RecordingError or StorageError.
    """
    suite = _kept(pool) or save_suite(pool.folder, pool.manifest, pool.probes)
    costs = {name: cost or 0.0 for name, cost in worst_cases_usd(pool, sources).items()}
    total = sum(costs.values())

    async def one(source: Source) -> None:
        budget = limits.budget_usd
        if budget is not None and total:
            budget *= costs[source.name] / total
        what = Recording(
            pool.folder,
            source.name,
            source.endpoint.display,
            source.role,
            provenance_of(source.endpoint, model),
            concurrency=concurrency,
            limits=replace(limits, budget_usd=budget),
        )
        asker = askers[source.endpoint.name]
        await record(what, model, suite, source.endpoint, asker, lambda done, of: on_settled(source.name, done, of))

    recorded = _recorded(pool.folder)
    missing = [s for s in sources if (s.name, s.role, s.endpoint.display) not in recorded]
    # Where one fails the others go on, so that the same command later has less to ask.
    for end in await asyncio.gather(*map(one, missing), return_exceptions=True):
        if end is not None:
            raise end
    return load_baseline(pool.folder, calibrated=False)


def check(wanted: Wanted, pool: Suite, endpoints: Sequence[Endpoint]) -> None:
    """Check that these endpoints can choose such a suite, and that the pool's folder holds no other pool.

    Raises SuiteError.
    """
    _kept(pool)
    if len(pool.probes) < MIN_CHOSEN:
        raise SuiteError(
            f"{len(pool.probes)} prompts are too few to choose from: an envelope takes {MIN_CHOSEN} of a kind; give a "
            "larger --pool, or a higher --max-requests."
        )
    if wanted.size is not None and wanted.size < MIN_CHOSEN:
        raise SuiteError(f"--size {wanted.size} is too small: an envelope takes {MIN_CHOSEN} prompts of a kind.")
    if short := [e.name for e in endpoints if e.dialect.top_logprobs_max < 2]:
        raise SuiteError(f"{', '.join(short)} gives no log-probabilities of two tokens or more to choose prompts by.")


def _kept(pool: Suite) -> Suite | None:
    """The pool that the folder holds already, None for none. Raises SuiteError for another one."""
    if not (pool.folder / "suite.json").exists():
        return None
    suite = load_suite(str(pool.folder))
    if (suite.manifest, suite.probes) != (pool.manifest, pool.probes):
        raise SuiteError(
            f"{pool.folder} holds answers to other prompts, or of another length; choose another folder with --out."
        )
    return suite


def _recorded(folder: Path) -> set[tuple[str, str, str]]:
    if not (folder / "manifest.json").exists():
        return set()
    return {(d.name, d.role, d.endpoint) for d in load_baseline(folder, calibrated=False).manifest.deployments}


def mine(wanted: Wanted, pool: Suite, recorded: Baseline, sources: Sequence[Source], folder: Path) -> Mined:
    """Choose the suite's probes on the sources' recorded answers to the pool, and write it into `folder`.

    Raises SuiteError where too few prompts are worth asking or the folder holds a suite, and StorageError.
    """
    by_id = {p.id: p for p in pool.probes}
    honest, variants = ([s.name for s in sources if s.role == role] for role in ("reference", "variant"))
    paths = GreedyPaths.of(recorded, list(by_id), honest, variants)

    def choose(some: GreedyPaths) -> Mapping[str, Sequence[str]]:
        if wanted.purpose == "greedy":
            return some.choose(wanted.criteria)
        return {FOLLOWED: some.on_one_path(wanted.criteria.margin)}

    found, unchosen = choose(paths), paths.unchosen(choose)
    kinds = one_of_each({kind: [by_id[i] for i in ids] for kind, ids in found.items()})
    kinds = {kind: some[: wanted.size] for kind, some in kinds.items()}
    strata = {kind: probes for kind, probes in kinds.items() if len(probes) >= MIN_CHOSEN}
    few = {kind: len(probes) for kind, probes in kinds.items() if kind not in strata}
    asked = len(paths.paths)
    if not strata:
        raise SuiteError(_too_few(few, asked, wanted.purpose))
    probes = deal(strata, np.random.default_rng(wanted.seed))
    suite = save_suite(folder, _manifest(wanted, pool, asked), probes)
    evaluation = [p.stratum for p in suite.fold("evaluation")]

    def stratum(kind: str) -> Stratum:
        chosen = [p.id for p in strata[kind]]
        flips = {v: paths.flips(v, chosen) for v in paths.variants}
        return Stratum(kind, len(chosen), evaluation.count(kind), flips, unchosen.get(kind, {}))

    return Mined(suite, tuple(map(stratum, strata)), few, asked)


def one_of_each(kinds: Mapping[str, Iterable[Probe]]) -> dict[str, list[Probe]]:
    """Of each cluster its first probe alone: what a deployment makes of one prompt tells what it makes of its like."""
    clusters, kept = set[str](), dict[str, list[Probe]]()
    for kind, probes in kinds.items():
        kept[kind] = []
        for probe in probes:
            if probe.cluster not in clusters:
                clusters.add(probe.cluster)
                kept[kind].append(probe)
    return kept


def deal(strata: Mapping[str, Sequence[Probe]], rng: np.random.Generator) -> list[Probe]:
    """The probes with their strata and folds, in random order; a cluster lies in one fold, whatever its strata."""
    folds: dict[str, Fold] = {}
    for probes in strata.values():
        clusters = sorted({p.cluster for p in probes} - folds.keys())
        counts = [round(len(clusters) * share) for share in SHARES.values()]
        dealt = np.repeat(list(SHARES), [*counts[:-1], len(clusters) - sum(counts[:-1])])
        folds |= dict(zip(clusters, rng.permutation(dealt).tolist(), strict=True))
    probes = [replace(p, stratum=kind, fold=folds[p.cluster]) for kind, some in strata.items() for p in some]
    return [probes[i] for i in rng.permutation(len(probes))]


def _manifest(wanted: Wanted, pool: Suite, asked: int) -> Manifest:
    greedy = wanted.purpose == "greedy"
    return Manifest(
        name=wanted.name,
        version="1.0.0",
        licence=pool.manifest.licence,
        description="Prompts on which one greedy token tells most."
        if greedy
        else "Prompts on whose path honest deployments stay.",
        observes=["greedy_text" if greedy else "logprobs", "prompt_tokens"],
        max_tokens=TOKENS[wanted.purpose],
        top_logprobs=TOP,
        generator=f"{wanted.made_by}; chosen from {asked} answered prompts of a pool with the hash {pool.hash}",
    )


def _too_few(few: Mapping[str, int], asked: int, purpose: Purpose) -> str:
    found, most = " and ".join(f"{count} {kind}" for kind, count in few.items()), max(few.values())
    options = "--margin, --gap" if purpose == "greedy" else "--margin"
    enough = f"about {-(-MIN_CHOSEN * asked // most)}" if most else "many more"
    return (
        f"of {asked} prompts {found} ones were found, and an envelope takes {MIN_CHOSEN} of a kind: ask {enough} "
        f"prompts (--pool, --max-requests), or ask less of them ({options})."
    )
