"""Recorded references and variants: load, save, verify.

A baseline is a folder:

    manifest.json                 what was recorded with which suite, from which deployments, with every file's hash
    deployments/NAME.jsonl.gz     answers to the suite's evaluation probes, one line per probe in the suite's order
    calibration/NAME.jsonl.gz     answers to its selection and calibration probes (may be left out when shipped)
    calibration.json              what those answers say about the envelope: tail counts (`CalibrationTable`)

A line is `{"probe", "answers": [{"prompt_tokens", "positions": [[token, logprob, [[key, logprob], …]], …]}, …]}`,
one answer per repeat. Lines are parsed only when their probe is asked for.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qcheck.errors import BaselineError, UnknownNameError
from qcheck.jsonio import atomic_write, content_hash, gzip_lines, loads, pretty
from qcheck.records import Position, Response, positions_from_rows, positions_to_rows
from qcheck.stats.bets import binomial_lower, binomial_upper
from qcheck.suites import Suite, shipped_folder

__all__ = [
    "Answer",
    "Baseline",
    "BaselineManifest",
    "CalibrationTable",
    "DeploymentEntry",
    "Node",
    "ProbeReference",
    "RecordedFile",
    "SuiteEntry",
    "TailEvent",
    "answer_of",
    "baseline_roots",
    "find_baseline",
    "list_baselines",
    "list_floor",
    "load_baseline",
    "save_manifest",
    "write_answers",
]

FORMAT = 1
DIGITS = 5  # of log-probabilities in files: 1e-5 nats, a fiftieth of the smallest honest difference seen
SIZE = "size"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RecordedFile(_Strict):
    """A file of the baseline by relative path, content hash and number of lines."""

    path: str = Field(pattern=r"^(deployments|calibration)/[a-z0-9][a-z0-9._-]*\.jsonl\.gz$")
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    lines: int = Field(ge=0)


class DeploymentEntry(_Strict):
    """One recorded deployment: an honest one (`reference`) or a known deviation (`variant`)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    role: Literal["reference", "variant"]
    description: str
    provenance: Literal["self-hosted", "first-party", "third-party"]
    recorded: str
    endpoint: str
    reported_model: str | None
    fingerprint: str | None
    repeats: int = Field(ge=1)
    temperature: float
    answers: RecordedFile
    calibration: RecordedFile | None


class SuiteEntry(_Strict):
    """The suite that was asked."""

    name: str
    version: str
    hash: str


class BaselineManifest(_Strict):
    """`manifest.json`."""

    format: Literal[1]
    model: str
    suite: SuiteEntry
    deployments: list[DeploymentEntry]
    calibration_hash: str | None = None


class TailEvent(_Strict):
    """`score > threshold`, and how often recorded deployments showed it among `CalibrationTable.clusters`.

    score: "size" (rms deviation in nats), or a variant's name (projection on its direction, 1 = the variant itself).
    honest: clusters that showed it, by honest deployment scored against all others with the noise factor applied.
    honest_any: clusters that at least one honest deployment showed it in.
    shown: clusters in which every answer of the variant showed it, without the noise factor.
    """

    score: str
    threshold: float
    honest: dict[str, int]
    honest_any: int
    shown: dict[str, int]


class CalibrationTable(_Strict):
    """What the calibration answers say about the envelope and about what can be seen outside it.

    clusters: how many clusters were counted. noise_factor: by which honest scores were multiplied before counting.
    noise_rms: largest rms deviation of an honest deployment from the others, nats, noise factor applied.
    envelope_kl, variant_kl: mean KL per position against the nearest reference, nats; the envelope's with the
    noise factor squared.
    """

    noise_factor: float
    clusters: int
    noise_rms: float
    envelope_kl: float
    variant_kl: dict[str, float]
    events: list[TailEvent]

    @property
    def bounded(self) -> int:
        """How many quantities may be bounded from the table: the calibration's error is split over them.

        Those are every event's null probability, and every variant's visibility by every size event.
        """
        return len(self.events) + len(self.variant_kl) * sum(e.score == SIZE for e in self.events)

    def null_bound(self, event: TailEvent, level: float) -> float:
        """Upper confidence bound, failing with probability at most `level`, of the event's null probability.

        It bounds the probability that *some* honest deployment shows the event on a random probe, hence that of each
        of them, and that of a provider which chooses among them, by the prompt if it likes.
        """
        return binomial_upper(event.honest_any, self.clusters, level)

    def visibility(self, event: TailEvent, variant: str, level: float) -> float:
        """Lower confidence bound of the probability that an answer of `variant` shows the event."""
        return binomial_lower(event.shown.get(variant, 0), self.clusters, level)


@dataclass(frozen=True, slots=True)
class Answer:
    """What of a response is kept for comparison."""

    prompt_tokens: int | None
    positions: tuple[Position, ...]


def answer_of(response: Response) -> Answer:
    """The comparable part of a response, with log-probabilities rounded as recorded ones are."""
    return Answer(response.prompt_tokens, rounded(response.positions))


def rounded(positions: tuple[Position, ...]) -> tuple[Position, ...]:
    """Log-probabilities at `DIGITS` decimals, so that equal answers stay equal through a file."""
    return tuple(
        Position(
            p.token,
            None if p.logprob is None else round(p.logprob, DIGITS),
            tuple((key, round(value, DIGITS)) for key, value in p.top),
        )
        for p in positions
    )


@dataclass(frozen=True, slots=True)
class Node:
    """The recorded next-token lists after one path of tokens.

    tokens: column of each token key. values: (deployments, tokens) log-probabilities, NaN where unlisted. floors:
    (deployments,) what unlisted tokens have at most, NaN where the deployment has not this path. Of several repeats
    the first that took the path counts, as in calibration, where there is one: an average would be less noisy.
    """

    tokens: Mapping[str, int]
    values: NDArray[np.float64]
    floors: NDArray[np.float64]


@dataclass(frozen=True)
class ProbeReference:
    """All deployments' recorded answers to one probe. `answers` is by deployment, one entry per repeat."""

    answers: tuple[tuple[Answer, ...], ...]

    @cached_property
    def nodes(self) -> dict[tuple[str, ...], Node]:
        """Recorded lists by the path of tokens before them."""
        lists: dict[tuple[str, ...], dict[int, Position]] = {}
        for index, repeats in enumerate(self.answers):
            for answer in repeats:
                path: tuple[str, ...] = ()
                for position in answer.positions:
                    lists.setdefault(path, {}).setdefault(index, position)
                    path += (position.token,)
        return {path: _node(by_deployment, len(self.answers)) for path, by_deployment in lists.items()}

    def prompt_tokens(self, deployments: Sequence[int]) -> int | None:
        """The prompt-token count on which all repeats of all these deployments agree, else None."""
        counts = {a.prompt_tokens for i in deployments for a in self.answers[i]}
        return counts.pop() if len(counts) == 1 else None


def list_floor(position: Position) -> float:
    """What a token that the position does not list has at most: its smallest listed log-probability.

    The token that was taken may have been listed beside the k best however unlikely it is, so it sets no floor; that
    the others are the best ones still holds. NaN where nothing is listed.
    """
    listed = [v for key, v in position.top if v > -np.inf and key != position.token]
    own = [v for _, v in position.top if v > -np.inf]
    return min(listed or own, default=np.nan)


def _node(by_deployment: Mapping[int, Position], deployments: int) -> Node:
    tokens: dict[str, int] = {}
    for position in by_deployment.values():
        for key, logprob in position.top:
            if logprob > -np.inf:
                tokens.setdefault(key, len(tokens))
    values = np.full((deployments, len(tokens)), np.nan)
    floors = np.full(deployments, np.nan)
    for index, position in by_deployment.items():
        floors[index] = list_floor(position)
        for key, logprob in position.top:
            if logprob > -np.inf:
                values[index, tokens[key]] = logprob
    return Node(tokens, values, floors)


@dataclass(frozen=True)
class Baseline:
    """A loaded baseline. Deployment indices run over `manifest.deployments`."""

    name: str
    folder: Path
    manifest: BaselineManifest
    hash: str
    table: CalibrationTable | None
    _lines: dict[int, dict[str, bytes]] = field(default_factory=dict, repr=False)
    _probes: dict[str, ProbeReference] = field(default_factory=dict, repr=False)

    @property
    def references(self) -> tuple[int, ...]:
        """Indices of the honest deployments."""
        return tuple(i for i, d in enumerate(self.manifest.deployments) if d.role == "reference")

    @property
    def variants(self) -> tuple[int, ...]:
        """Indices of the recorded deviations."""
        return tuple(i for i, d in enumerate(self.manifest.deployments) if d.role == "variant")

    def names(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Deployment names by index."""
        return tuple(self.manifest.deployments[i].name for i in indices)

    def probe(self, probe_id: str) -> ProbeReference | None:
        """The recorded answers to one evaluation probe; None where some deployment has none."""
        if probe_id not in self._probes:
            rows = []
            for index, entry in enumerate(self.manifest.deployments):
                if index not in self._lines:
                    self._lines[index] = _lines_by_probe(self.folder, entry.answers)
                line = self._lines[index].get(probe_id)
                if line is None:
                    return None
                rows.append(_answers_of_line(line))
            self._probes[probe_id] = ProbeReference(tuple(rows))
        return self._probes[probe_id]

    def calibration_answers(self, index: int) -> dict[str, Answer] | None:
        """First answers to selection and calibration probes by probe id; None where they are not kept here."""
        entry = self.manifest.deployments[index]
        if entry.calibration is None or not (self.folder / entry.calibration.path).is_file():
            return None
        lines = _lines_by_probe(self.folder, entry.calibration)
        return {probe_id: _answers_of_line(line)[0] for probe_id, line in lines.items()}

    def fits(self, suite: Suite) -> bool:
        """Whether this baseline was recorded with exactly this suite."""
        return self.manifest.suite.hash == suite.hash


def _answers_of_line(line: bytes) -> tuple[Answer, ...]:
    try:
        row = json.loads(line)  # the file's hash was checked; strictness would take longer than all the rest
        return tuple(Answer(a["prompt_tokens"], positions_from_rows(a["positions"])) for a in row["answers"])
    except (ValueError, KeyError, TypeError) as error:
        raise BaselineError(f"a baseline line is malformed ({error}); record it again.") from error


def _read_checked(folder: Path, path: str, digest: str) -> bytes:
    try:
        data = (folder / path).read_bytes()
    except OSError as error:
        raise BaselineError(f"cannot read {folder / path}: {error.strerror}; record the baseline again.") from error
    if content_hash(data) != digest:
        raise BaselineError(f"{folder / path} does not have the hash its manifest states; record the baseline again.")
    return data


def _lines_by_probe(folder: Path, file: RecordedFile) -> dict[str, bytes]:
    data = _read_checked(folder, file.path, file.hash)
    marker = b'"probe":"'
    try:
        lines = gzip.decompress(data).splitlines()
        by_probe = {line[line.rindex(marker) + len(marker) : -2].decode(): line for line in lines}
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise BaselineError(f"{folder / file.path} is damaged ({error}); record the baseline again.") from error
    if len(lines) != file.lines:
        raise BaselineError(f"{folder / file.path} has {len(lines)} lines, its manifest says {file.lines}.")
    return by_probe


def write_answers(folder: Path, kind: str, name: str, answers: Mapping[str, Sequence[Answer]]) -> RecordedFile:
    """Write one deployment's answers, in the mapping's order; `kind` is "deployments" or "calibration"."""
    rows = [
        {
            "answers": [
                {"prompt_tokens": a.prompt_tokens, "positions": positions_to_rows(rounded(a.positions))}
                for a in repeats
            ],
            "probe": probe_id,
        }
        for probe_id, repeats in answers.items()
    ]
    data = gzip_lines(rows)
    path = f"{kind}/{name}.jsonl.gz"
    atomic_write(folder / path, data)
    return RecordedFile(path=path, hash=content_hash(data), lines=len(rows))


def save_manifest(folder: Path, manifest: BaselineManifest) -> None:
    """Write `manifest.json`, atomically."""
    atomic_write(folder / "manifest.json", pretty(manifest.model_dump()))


def load_baseline(folder: Path, *, calibrated: bool = True) -> Baseline:
    """The baseline in `folder`, without its table unless `calibrated`. Raises BaselineError in one clear sentence."""
    try:
        data = (folder / "manifest.json").read_bytes()
    except OSError as error:
        raise BaselineError(f"{folder} holds no baseline ({error.strerror}); record one first.") from error
    table = None
    try:
        manifest = BaselineManifest.model_validate(loads(data))
        if calibrated and manifest.calibration_hash:
            raw = _read_checked(folder, "calibration.json", manifest.calibration_hash)
            table = CalibrationTable.model_validate(loads(raw))
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise BaselineError(f"{folder} is not a baseline that this version reads: {first}.") from error
    names = [d.name for d in manifest.deployments]
    if len(set(names)) != len(names):
        raise BaselineError(f"{folder}/manifest.json names a deployment twice.")
    return Baseline(folder.name, folder, manifest, content_hash(data), table)


def baseline_roots(user_data: Path) -> tuple[Path, ...]:
    """Where baselines are looked for, nearest first: working folder, user's data folder, package."""
    return (Path("baselines"), user_data / "baselines", shipped_folder("baselines"))


def list_baselines(roots: Sequence[Path]) -> dict[str, Path]:
    """Baselines by name; the nearest root wins."""
    found: dict[str, Path] = {}
    for root in roots:
        for file in sorted(root.glob("*/manifest.json")):
            found.setdefault(file.parent.name, file.parent)
    return found


def find_baseline(name_or_path: str, roots: Sequence[Path]) -> Baseline:
    """A baseline by name or folder. Raises UnknownNameError or BaselineError."""
    known = list_baselines(roots)
    folder = known.get(name_or_path, Path(name_or_path))
    if name_or_path not in known and not (folder / "manifest.json").is_file():
        raise UnknownNameError("baseline", name_or_path, known, "Or give the path of a baseline folder.")
    return load_baseline(folder)
