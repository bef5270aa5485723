"""Probe suites: data in folders, checked and hashed when loaded.

A suite is a folder with `suite.json` (the manifest) and `probes.jsonl`. The content hash covers both, so that a
baseline or a run can say exactly which probes it speaks of.

Texts. A suite that observes `greedy_text` compares what providers say at temperature 0 with what reference deployments
said. How sure those were is told by their log-probabilities, so these are asked for; a provider need not give them.

A suite that observes `sampled_text` asks the probes of another one (`of`), one token of text each at a temperature, and
compares with the log-probabilities that were recorded with that one. One that observes `scored_text` asks them for
texts of many tokens, of which live deployments say how probable they are; they list `top_logprobs` at each token.

Folds. A probe belongs to one fold: `evaluation` probes are asked when providers are compared, `selection` probes
choose thresholds and `calibration` probes bound how often honest deployments exceed them. Folds share no part.
A probe's `cluster` names what it shares with others; bounds count clusters, never probes.

Answers. In a suite that observes `answers` every probe says which answer is right (`qcheck.expected`) and how hard it
is to find, from level 1 up. One that observes `tool_calls` declares functions in its manifest, of which each probe
names those that the model may call, and the right answer is which ones it calls.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qcheck.errors import SuiteError, UnknownNameError
from qcheck.expected import Expected, ToolCallsAnswer
from qcheck.jsonio import atomic_write, canonical, content_hash, loads, pretty, to_plain
from qcheck.records import Message, Request, Tool, ToolCall
from qcheck.toolcalls import fits

__all__ = [
    "FOLDS",
    "Fold",
    "Manifest",
    "Probe",
    "Suite",
    "list_suites",
    "load_prompts",
    "load_suite",
    "plain",
    "save_suite",
    "shipped_folder",
]

Fold = Literal["evaluation", "selection", "calibration"]
FOLDS: tuple[Fold, ...] = ("evaluation", "selection", "calibration")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Schema(_Strict):
    """The part of JSON Schema that `qcheck.toolcalls.fits` checks."""

    type: Literal["string", "integer", "number", "boolean", "object", "array"]
    description: str | None = None
    enum: list[Any] | None = None
    properties: dict[str, _Schema] | None = None
    required: list[str] | None = None
    items: _Schema | None = None


class _Parameters(_Schema):
    type: Literal["object"]


class _Tool(_Strict):
    description: str = Field(min_length=1)
    parameters: _Parameters

    def to_tool(self, name: str) -> Tool:
        return Tool(name, self.description, self.parameters.model_dump(exclude_none=True))


class Manifest(_Strict):
    """`suite.json`: what the suite is, what is observed, and how each probe is asked.

    temperature: of sampled and scored text; None where each endpoint's own is asked. of: the suite whose probes and
    baselines these are. stratum: the one of its strata that is asked; None for all. tools: functions that probes may
    name, where tool calls are observed.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    licence: str = Field(min_length=1)
    description: str = Field(min_length=1)
    observes: list[
        Literal["logprobs", "greedy_text", "sampled_text", "scored_text", "prompt_tokens", "answers", "tool_calls"]
    ] = Field(min_length=1)
    max_tokens: int = Field(ge=1, le=4096)
    top_logprobs: int = Field(ge=0, le=100)
    generator: str | None = None
    temperature: float | None = Field(default=None, gt=0, le=1)
    of: str | None = None
    stratum: str | None = None
    tools: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], _Tool] | None = None

    @model_validator(mode="after")
    def _asks_for_what_it_observes(self) -> Manifest:
        if not self.top_logprobs and {"logprobs", "greedy_text", "scored_text"} & set(self.observes):
            raise ValueError(
                "top_logprobs: at least 1 is needed where logprobs, greedy_text or scored_text is observed"
            )
        sampled, scored = ("sampled_text" in self.observes), ("scored_text" in self.observes)
        if {self.temperature is not None, self.of is not None} != {sampled or scored}:
            raise ValueError(
                "observes: sampled_text and scored_text need `temperature` and `of`, and nothing else has them"
            )
        if self.stratum is not None and self.of is None:
            raise ValueError("stratum: needs `of`")
        if scored and len(self.observes) > 1:
            raise ValueError("observes: beside scored_text nothing else can be observed")
        if sampled and (self.max_tokens > 1 or self.top_logprobs or "answers" in self.observes):
            raise ValueError("observes: where text is sampled, one token of text alone is asked for")
        if bool(self.tools) != ("tool_calls" in self.observes):
            raise ValueError("observes: tool_calls needs `tools`, and nothing else has them")
        if self.tools and not {"tool_calls", "prompt_tokens"}.issuperset(self.observes):
            raise ValueError("observes: beside tool_calls, prompt_tokens alone can be observed")
        return self


class _ToolCall(_Strict):
    name: str = Field(min_length=1)
    arguments: str


class _Message(_Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = Field(max_length=100_000)
    tool_calls: list[_ToolCall] = Field(default_factory=list)
    reasoning: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content and not self.tool_calls:
            raise ValueError("content: nothing is said and nothing is called")
        if self.role != "assistant" and (self.tool_calls or self.reasoning):
            raise ValueError("role: the assistant alone calls functions and reasons")
        return self

    def to_message(self) -> Message:
        calls = tuple(ToolCall(c.name, c.arguments) for c in self.tool_calls)
        return Message(self.role, self.content, calls, self.reasoning)


class _Probe(_Strict):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    cluster: str = Field(min_length=1)
    fold: Fold
    stratum: str = Field(default="all", pattern=r"^[a-z0-9-]+$")
    messages: list[_Message] = Field(min_length=1)
    tags: dict[str, str] = Field(default_factory=dict)
    answer: Annotated[Expected, Field(discriminator="kind")] | None = None
    level: int | None = Field(default=None, ge=1, le=9)
    tools: list[str] = Field(default_factory=list)

    def to_probe(self) -> Probe:
        messages, tags = tuple(m.to_message() for m in self.messages), tuple(sorted(self.tags.items()))
        tools = tuple(self.tools)
        return Probe(self.id, self.cluster, self.fold, messages, tags, self.stratum, self.answer, self.level, tools)


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe: what is said, and what it shares with others.

    stratum: the sub-population of prompts that it is drawn from. answer: the right one, where answers are observed,
    and level: how hard it is to find, from 1 up. tools: names of the functions that may be called.
    """

    id: str
    cluster: str
    fold: Fold
    messages: tuple[Message, ...]
    tags: tuple[tuple[str, str], ...] = ()
    stratum: str = "all"
    answer: Expected | None = None
    level: int | None = None
    tools: tuple[str, ...] = ()

    @property
    def said(self) -> bytes:
        """All that is said, turns one to a line."""
        return b"\n".join(m.content.encode("utf-8", "surrogatepass") for m in self.messages)


@dataclass(frozen=True, slots=True)
class Suite:
    """A validated suite. `hash` covers manifest and probes. base: the suite whose probes it asks, if not its own."""

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
    def scored(self) -> bool:
        """Whether live deployments score the texts of answers, so that nothing is recorded to compare them with."""
        return "scored_text" in self.manifest.observes

    @property
    def judges_text(self) -> bool:
        """Whether the texts of answers are compared or graded, and so are kept when a reference is recorded."""
        return not {"greedy_text", "answers"}.isdisjoint(self.manifest.observes)

    @property
    def judges_calls(self) -> bool:
        """Whether what answers call is graded, in place of their texts."""
        return "tool_calls" in self.manifest.observes

    def tools(self, probe: Probe) -> tuple[Tool, ...]:
        """The functions that an answer to `probe` may call."""
        declared = self.manifest.tools or {}
        return tuple(declared[name].to_tool(name) for name in probe.tools)

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
        k = min(m.top_logprobs, top_logprobs_max)
        return Request(probe.id, probe.messages, m.max_tokens, asked, k, self.tools(probe))

    def score(self, probe: Probe, text: str, temperature: float, top_logprobs_max: int) -> Request:
        """How the text of an answer to `probe` is given to be scored to an endpoint like those of `request`."""
        k = min(self.manifest.top_logprobs, top_logprobs_max)
        return Request(probe.id, probe.messages, 1, temperature, k, scored=text)


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
    manifest = _manifest(folder, manifest_bytes)
    if manifest.of is not None:
        return _derived(folder, manifest, content_hash(manifest_bytes))
    return _whole(folder, manifest_bytes, _read(folder / "probes.jsonl"))


def _manifest(folder: Path, data: bytes) -> Manifest:
    try:
        return Manifest.model_validate(loads(data))
    except ValueError as error:
        raise SuiteError(f"{folder / 'suite.json'}: {_explain(error)}.") from error


@lru_cache(8)  # thousands of probes take a second, and a command needs them more than once
def _whole(folder: Path, manifest_bytes: bytes, probe_bytes: bytes) -> Suite:
    """The suite that the two files of a folder hold. Raises SuiteError."""
    manifest = _manifest(folder, manifest_bytes)
    probes = list(_probes(folder / "probes.jsonl", probe_bytes))
    _check(folder, probes, answers=not {"answers", "tool_calls"}.isdisjoint(manifest.observes))
    _check_tools(folder, probes, manifest.tools or {})
    digest = content_hash(content_hash(manifest_bytes).encode() + content_hash(probe_bytes).encode())
    return Suite(manifest, tuple(probes), digest, folder)


def _derived(folder: Path, manifest: Manifest, digest: str) -> Suite:
    """The suite that asks another one's probes for text, found by name or beside it. Raises SuiteError."""
    beside = folder / str(manifest.of)
    place = beside if beside.is_dir() else list_suites().get(str(manifest.of))
    if place is None:
        raise SuiteError(
            f"{folder / 'suite.json'}: of: no shipped suite has the name {manifest.of!r}, nor a folder there."
        )
    if _is_derived(place):
        raise SuiteError(f"{folder / 'suite.json'}: of: {place} has no probes of its own.")
    base = load_suite(str(place))
    if "logprobs" not in base.manifest.observes:
        raise SuiteError(f"{folder / 'suite.json'}: of: the suite {base.name} does not observe log-probabilities.")
    probes = tuple(p for p in base.probes if manifest.stratum in (None, p.stratum))
    if not any(p.fold == "evaluation" for p in probes):
        raise SuiteError(
            f"{folder / 'suite.json'}: stratum: the suite {base.name} asks no probes of {manifest.stratum!r}."
        )
    return Suite(manifest, probes, content_hash((digest + base.hash).encode()), folder, base)


def _is_derived(folder: Path) -> bool:
    """Whether what lies in a folder says that it is a suite on another one's probes."""
    try:
        row = loads(_read(folder / "suite.json"))
    except ValueError:
        return False
    return isinstance(row, dict) and row.get("of") is not None


def load_prompts(path: Path) -> tuple[Probe, ...]:
    """Prompts to choose probes from: JSON lines like those of `probes.jsonl`, of which `messages` are needed alone.

    A prompt without an id is known by its line, one without a cluster shares nothing with others. Raises SuiteError.
    """
    prompts = tuple(_probes(path, _read(path), prompts=True))
    _check(path, list(prompts), answers=False)
    _check_tools(path, prompts, {})
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
    row = {name: value for name, value in plain(probe).items() if value is not None}
    return row | {"tags": dict(probe.tags)}


def plain(probe: Probe) -> dict[str, Any]:
    """A probe as plain JSON values. Without tools it says nothing of them, as hashes of such probes never did."""
    row: dict[str, Any] = to_plain(probe)
    messages = [
        {name: value for name, value in m.items() if value or name in ("role", "content")} for m in row["messages"]
    ]
    return {name: value for name, value in row.items() if value or name != "tools"} | {"messages": messages}


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
            wanted = "; each line is a JSON object with the `messages` of a prompt" if prompts else ""
            raise SuiteError(f"{path} line {number}: {_explain(error)}{wanted}.") from error
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


def _check_tools(folder: Path, probes: Sequence[Probe], declared: Mapping[str, _Tool]) -> None:
    """Raise SuiteError where a probe needs functions that are not `declared`, or wants calls that they do not allow."""
    for probe in probes:
        wanted = probe.answer.value if isinstance(probe.answer, ToolCallsAnswer) else None
        turned = any(m.role == "tool" or m.tool_calls for m in probe.messages)
        if not declared and (probe.tools or turned or wanted is not None):
            raise SuiteError(
                f"{folder}: probe {probe.id!r} needs tools, and no suite but one of `tool_calls` has them."
            )
        if declared and wanted is None:
            raise SuiteError(f"{folder}: probe {probe.id!r} needs an answer of the kind tool_calls.")
        if unknown := set(probe.tools) - declared.keys():
            raise SuiteError(f"{folder}: probe {probe.id!r} names a tool that is not declared ({min(unknown)}).")
        for call in wanted or ():
            if call.name not in probe.tools or not fits(
                call.arguments, declared[call.name].to_tool(call.name).parameters
            ):
                raise SuiteError(f"{folder}: probe {probe.id!r} wants a call of {call.name!r} that is not valid.")
        made = sum(len(m.tool_calls) for m in probe.messages)
        if made != sum(m.role == "tool" for m in probe.messages):
            raise SuiteError(f"{folder}: probe {probe.id!r} needs a message of the role tool for each call made.")
