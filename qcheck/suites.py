"""Probe suites: data in folders, checked and hashed when loaded.

A suite is a folder with `suite.json` (the manifest) and `probes.jsonl`. The content hash covers both, so that a
baseline or a run can say exactly which probes it speaks of.

Texts. A suite that observes `greedy_text` compares what providers say at temperature 0 with what reference deployments
said. How sure those were is told by their log-probabilities, so these are asked for; a provider need not give them.

A suite that observes `sampled_text` asks the probes of another one (`of`), one token of text each at a temperature, and
compares with the log-probabilities that were recorded with that one.

Folds. A probe belongs to one fold: `evaluation` probes are asked when providers are compared, `selection` probes
choose thresholds and `calibration` probes bound how often honest deployments exceed them. Folds share no part.
A probe's `cluster` names what it shares with others; bounds count clusters, never probes.

Answers. In a suite that observes `answers` every probe says which answer is right (`qcheck.expected`) and how hard it
is to find, from level 1 up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qcheck.errors import SuiteError, UnknownNameError
from qcheck.expected import Expected
from qcheck.jsonio import atomic_write, canonical, content_hash, loads, pretty, to_plain
from qcheck.records import Message, Request

__all__ = [
    "FOLDS",
    "Fold",
    "Manifest",
    "Probe",
    "Suite",
    "list_suites",
    "load_prompts",
    "load_suite",
    "save_suite",
    "shipped_folder",
]

Fold = Literal["evaluation", "selection", "calibration"]
FOLDS: tuple[Fold, ...] = ("evaluation", "selection", "calibration")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Manifest(_Strict):
    """`suite.json`: what the suite is, what is observed, and how each probe is asked.

    temperature: of sampled text; None where each endpoint's own is asked. of: the suite whose probes and baselines
    these are.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    licence: str = Field(min_length=1)
    description: str = Field(min_length=1)
    observes: list[Literal["logprobs", "greedy_text", "sampled_text", "prompt_tokens", "answers"]] = Field(min_length=1)
    max_tokens: int = Field(ge=1, le=4096)
    top_logprobs: int = Field(ge=0, le=100)
    generator: str | None = None
    temperature: float | None = Field(default=None, gt=0, le=1)
    of: str | None = None

    @model_validator(mode="after")
    def _asks_for_what_it_observes(self) -> Manifest:
        if not self.top_logprobs and {"logprobs", "greedy_text"} & set(self.observes):
            raise ValueError("top_logprobs: at least 1 is needed where logprobs or greedy_text are observed")
        sampled = "sampled_text" in self.observes
        if {self.temperature is not None, self.of is not None} != {sampled}:
            raise ValueError("observes: sampled_text needs `temperature` and `of`, and nothing else has them")
        if sampled and (self.max_tokens > 1 or self.top_logprobs or "answers" in self.observes):
            raise ValueError("observes: where text is sampled, one token of text alone is asked for")
        return self


class _Message(_Strict):
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1, max_length=100_000)


class _Probe(_Strict):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    cluster: str = Field(min_length=1)
    fold: Fold
    stratum: str = Field(default="all", pattern=r"^[a-z0-9-]+$")
    messages: list[_Message] = Field(min_length=1)
    tags: dict[str, str] = Field(default_factory=dict)
    answer: Annotated[Expected, Field(discriminator="kind")] | None = None
    level: int | None = Field(default=None, ge=1, le=9)

    def to_probe(self) -> Probe:
        messages, tags = tuple(Message(m.role, m.content) for m in self.messages), tuple(sorted(self.tags.items()))
        return Probe(self.id, self.cluster, self.fold, messages, tags, self.stratum, self.answer, self.level)


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe: what is said, and what it shares with others.

    stratum: the sub-population of prompts that it is drawn from. answer: the right one, where answers are observed,
    and level: how hard it is to find, from 1 up.
    """

    id: str
    cluster: str
    fold: Fold
    messages: tuple[Message, ...]
    tags: tuple[tuple[str, str], ...] = ()
    stratum: str = "all"
    answer: Expected | None = None
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """A validated suite. `hash` covers manifest and probes. base: the suite whose probes it samples text on, if any."""

    manifest: Manifest
    probes: tuple[Probe, ...]
    hash: str
    folder: Path
    base: Suite | None = None

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self.manifest.name

    @property
    def recorded(self) -> Suite:
        """The suite that its baselines are recorded with."""
        return self.base or self

    @property
    def judges_text(self) -> bool:
        """Whether the texts of answers are compared or graded, and so are kept when a reference is recorded."""
        return not {"greedy_text", "answers"}.isdisjoint(self.manifest.observes)

    def fold(self, fold: Fold) -> tuple[Probe, ...]:
        """The probes of one fold, in file order."""
        return tuple(p for p in self.probes if p.fold == fold)

    def draw(self, fold: Fold, seed: int) -> tuple[Probe, ...]:
        """One probe of each cluster of a fold, drawn at random: what is asked in one run must share no part."""
        clusters: dict[str, list[Probe]] = {}
        for probe in self.fold(fold):
            clusters.setdefault(probe.cluster, []).append(probe)
        rng = random.Random(seed)  # noqa: S311  (a sample, no secret)
        return tuple(rng.choice(probes) for probes in clusters.values())

    def request(self, probe: Probe, temperature: float, top_logprobs_max: int) -> Request:
        """How `probe` is asked of an endpoint with that (pinned or greedy) temperature and that largest k."""
        m = self.manifest
        asked = temperature if m.temperature is None else m.temperature
        return Request(probe.id, probe.messages, m.max_tokens, asked, min(m.top_logprobs, top_logprobs_max))


def shipped_folder(name: str) -> Path:
    """The folder of shipped data (`probes` or `baselines`): inside an installed package, else in the checkout."""
    packaged = Path(str(files("qcheck"))) / "_data" / name
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / name


def list_suites() -> dict[str, Path]:
    """Shipped suites by name."""
    root = shipped_folder("probes")
    found = {f.parent.name: f.parent for f in sorted(root.glob("*/suite.json"))} if root.is_dir() else {}
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        needs = "a suite folder holds suite.json and probes.jsonl"
        raise SuiteError(f"cannot read {path}: {error.strerror}; {needs}.") from error


def _explain(error: ValidationError | ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}"
    return str(error)


def load_suite(name_or_path: str) -> Suite:
    """A shipped suite by name, or one from a folder. Raises SuiteError or UnknownNameError."""
    shipped = list_suites()
    folder = shipped.get(name_or_path)
    if folder is None:
        folder = Path(name_or_path)
        if not folder.is_dir():
            raise UnknownNameError("suite", name_or_path, shipped, "Or give the path of a suite folder.")
    manifest_bytes = _read(folder / "suite.json")
    try:
        manifest = Manifest.model_validate(loads(manifest_bytes))
    except ValueError as error:
        raise SuiteError(f"{folder / 'suite.json'}: {_explain(error)}.") from error
    if manifest.of is not None:
        return _sampled(folder, manifest, content_hash(manifest_bytes))
    probe_bytes = _read(folder / "probes.jsonl")
    probes = list(_probes(folder / "probes.jsonl", probe_bytes))
    _check(folder, probes, answers="answers" in manifest.observes)
    digest = content_hash(content_hash(manifest_bytes).encode() + content_hash(probe_bytes).encode())
    return Suite(manifest, tuple(probes), digest, folder)


def _sampled(folder: Path, manifest: Manifest, digest: str) -> Suite:
    """The suite that samples text on another one's probes, found by name or beside it. Raises SuiteError."""
    beside = folder / str(manifest.of)
    base = load_suite(str(beside) if beside.is_dir() else str(manifest.of))
    if "logprobs" not in base.manifest.observes:
        raise SuiteError(f"{folder / 'suite.json'}: of: the suite {base.name} does not observe log-probabilities.")
    return Suite(manifest, base.probes, content_hash((digest + base.hash).encode()), folder, base)


def load_prompts(path: Path) -> tuple[Probe, ...]:
    """Prompts to choose probes from: JSON lines like those of `probes.jsonl`, of which `messages` are needed alone.

    A prompt without an id is known by its line, one without a cluster shares nothing with others. Raises SuiteError.
    """
    prompts = tuple(_probes(path, _read(path), prompts=True))
    _check(path, list(prompts), answers=False)
    return prompts


def save_suite(folder: Path, manifest: Manifest, probes: Sequence[Probe]) -> Suite:
    """Write a suite, which must not have been there, and load it. Raises SuiteError or StorageError."""
    if (folder / "suite.json").exists():
        raise SuiteError(f"{folder} holds a suite already, which baselines may speak of; choose another folder.")
    rows = (canonical(_row(probe)) + b"\n" for probe in probes)
    atomic_write(folder / "probes.jsonl", b"".join(rows))
    atomic_write(folder / "suite.json", pretty(manifest.model_dump(exclude_none=True)))
    return load_suite(str(folder.resolve()))


def _row(probe: Probe) -> dict[str, Any]:
    """A probe as a line of `probes.jsonl`, without what it does not have."""
    row = {name: value for name, value in to_plain(probe).items() if value is not None}
    return row | {"tags": dict(probe.tags)}


def _probes(path: Path, lines: bytes, *, prompts: bool = False) -> Iterator[Probe]:
    """The probes in the lines of a file; where they are `prompts`, as one fold of probes without an answer."""
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            row = loads(line)  # stricter than pydantic: no key twice, nothing infinite
            if prompts and isinstance(row, dict):
                row = {"id": f"line-{number}"} | row
                row = {"cluster": row["id"]} | row | {"fold": "evaluation", "answer": None, "level": None}
            probe = _Probe.model_validate_json(canonical(row) if prompts else line)
        except ValueError as error:
            raise SuiteError(f"{path} line {number}: {_explain(error)}.") from error
        yield probe.to_probe()


def _check(folder: Path, probes: list[Probe], *, answers: bool) -> None:
    if not any(p.fold == "evaluation" for p in probes):
        raise SuiteError(f"{folder}: a suite needs at least one probe of the fold `evaluation`.")
    ids: set[str] = set()
    texts: set[tuple[Message, ...]] = set()
    folds: dict[str, str] = {}
    for probe in probes:
        if probe.id in ids:
            raise SuiteError(f"{folder}: probe id {probe.id!r} stands twice.")
        if probe.messages in texts:
            raise SuiteError(f"{folder}: probe {probe.id!r} asks what another one asks.")
        if folds.setdefault(probe.cluster, probe.fold) != probe.fold:
            raise SuiteError(f"{folder}: cluster {probe.cluster!r} stands in two folds; folds must share no part.")
        if {probe.answer is not None, probe.level is not None} != {answers}:
            needs = "an answer and a level" if answers else "neither answer nor level (or `answers` in `observes`)"
            raise SuiteError(f"{folder}: probe {probe.id!r} needs {needs}.")
        ids.add(probe.id)
        texts.add(probe.messages)
