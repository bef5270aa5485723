"""Recorded references and variants: load, save, verify.

A baseline is a folder:

    manifest.json               what was recorded with which suite, from which deployments, with every file's hash
    deployments/NAME.answers    answers to the suite's evaluation probes (`qcheck.packing`)
    calibration/NAME.answers    answers to its selection and calibration probes (may be left out when shipped)
    calibration.json            what those answers say about the envelope: tail counts (`CalibrationTable`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qcheck.errors import BaselineError, UnknownNameError
from qcheck.jsonio import atomic_write, content_hash, loads, pretty
from qcheck.packing import Answer, PackedAnswers, pack, rounded, unpack
from qcheck.records import Position, Response
from qcheck.suites import Suite, shipped_folder
from qcheck.tailcounts import CalibrationTable
from qcheck.toolcalls import made_of

__all__ = [
    "Answer",
    "Baseline",
    "BaselineManifest",
    "DeploymentEntry",
    "Node",
    "ProbeReference",
    "RecordedFile",
    "SuiteEntry",
    "answer_of",
    "baseline_roots",
    "find_baseline",
    "list_baselines",
    "list_floor",
    "load_baseline",
    "read_answers",
    "save_manifest",
    "write_answers",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RecordedFile(_Strict):
    """A file of answers by relative path, content hash and number of probes."""

    path: str = Field(pattern=r"^(deployments|calibration)/[a-z0-9][a-z0-9._-]*\.answers$")
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    probes: int = Field(ge=0)


class DeploymentEntry(_Strict):
    """One recorded deployment: an honest one (`reference`) or a known deviation (`variant`).

    date_string: what a dated chat template was given as today's date, None where nothing was. thinking_off: how a
    thinking model was kept from thinking (`qcheck.registry.types.ThinkingSwitch`), None where that was not needed.
    """

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
    date_string: str | None = None
    thinking_off: str | None = None
    answers: RecordedFile
    calibration: RecordedFile | None


class SuiteEntry(_Strict):
    """The suite that was asked."""

    name: str
    version: str
    hash: str


class BaselineManifest(_Strict):
    """`manifest.json`."""

    format: Literal[2]
    model: str
    suite: SuiteEntry
    deployments: list[DeploymentEntry]
    calibration_hash: str | None = None


def answer_of(response: Response, *, with_text: bool = False, with_calls: bool = False) -> Answer:
    """The comparable part of a response, with log-probabilities rounded as recorded ones are.

    The text is kept `with_text` only: where the suite judges texts; what was called, in its place, `with_calls`.
    """
    text = made_of(response) if with_calls else response.text if with_text else None
    return rounded(Answer(response.prompt_tokens, response.positions, text, response.whole))


@dataclass(frozen=True, eq=False)
class Node:
    """The recorded next-token lists after one path of tokens.

    tokens: column of each token key. values: (deployments, tokens) log-probabilities, NaN where unlisted. floors:
    (deployments,) what unlisted tokens have at most, NaN where the deployment has not this path.
    """

    tokens: Mapping[str, int]
    values: NDArray[np.float64]
    floors: NDArray[np.float64]

    @cached_property
    def lengths(self) -> NDArray[np.intp]:
        """(deployments,) how many tokens each lists; 0 where it has not this path."""
        lengths: NDArray[np.intp] = (~np.isnan(self.values)).sum(axis=1)
        return lengths

    @cached_property
    def unnamed(self) -> bool:
        """Whether somebody lists a token that shows neither id nor bytes (`qcheck.records`, "Token keys")."""
        return any(key.startswith("?") for key in self.tokens)


@dataclass(frozen=True, eq=False)
class ProbeReference:
    """All deployments' recorded answers to one probe.

    answers: by deployment, one entry per repeat. Log-probabilities are compared with the first, prompt-token counts
    and graded texts with all of them.
    """

    answers: tuple[tuple[Answer, ...], ...]

    @cached_property
    def nodes(self) -> dict[tuple[str, ...], Node]:
        """Recorded lists by the path of tokens before them, of each deployment's first answer.

        Calibration has the first answers only: paths that further ones took would be places to deviate at that no
        null bound covers.
        """
        lists: dict[tuple[str, ...], dict[int, Position]] = {}
        for index, (first, *_) in enumerate(self.answers):
            path: tuple[str, ...] = ()
            for position in first.positions:
                lists.setdefault(path, {})[index] = position
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
    floor = np.nan
    for key, logprob in reversed(position.top):
        if logprob > -np.inf:
            floor = logprob
            if key != position.token:
                break
    return floor


def _node(by_deployment: Mapping[int, Position], deployments: int) -> Node:
    lists = {i: {key: v for key, v in position.top if v > -np.inf} for i, position in by_deployment.items()}
    tokens = {key: column for column, key in enumerate(dict.fromkeys(chain.from_iterable(lists.values())))}
    values = np.full((deployments, len(tokens)), np.nan)
    floors = np.full(deployments, np.nan)
    for index, listed in lists.items():
        values[index, [tokens[key] for key in listed]] = list(listed.values())
        floors[index] = list_floor(by_deployment[index])
    return Node(tokens, values, floors)


@dataclass(frozen=True)
class Baseline:
    """A loaded baseline. Deployment indices run over `manifest.deployments`."""

    name: str
    folder: Path
    manifest: BaselineManifest
    hash: str
    table: CalibrationTable | None
    _packed: dict[int, PackedAnswers] = field(default_factory=dict, repr=False)
    _probes: dict[str, ProbeReference] = field(default_factory=dict, repr=False)

    @property
    def references(self) -> tuple[int, ...]:
        """Indices of the honest deployments."""
        return tuple(i for i, d in enumerate(self.manifest.deployments) if d.role == "reference")

    @property
    def variants(self) -> tuple[int, ...]:
        """Indices of the recorded deviations."""
        return tuple(i for i, d in enumerate(self.manifest.deployments) if d.role == "variant")

    @property
    def directed(self) -> tuple[int, ...]:
        """Indices of the variants whose directions are looked for: all, unless the calibration says which."""
        chosen = self.table.directed if self.table else None
        return tuple(i for i in self.variants if chosen is None or self.manifest.deployments[i].name in chosen)

    def names(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Deployment names by index."""
        return tuple(self.manifest.deployments[i].name for i in indices)

    def has(self, probe_id: str) -> bool:
        """Whether every deployment has answered one evaluation probe."""
        return all(probe_id in self._answers(index) for index in range(len(self.manifest.deployments)))

    def probe(self, probe_id: str) -> ProbeReference | None:
        """The recorded answers to one evaluation probe; None where some deployment has none."""
        if probe_id not in self._probes:
            recorded = [self._answers(index).get(probe_id) for index in range(len(self.manifest.deployments))]
            present = tuple(answers for answers in recorded if answers is not None)
            if len(present) < len(recorded):
                return None
            self._probes[probe_id] = ProbeReference(present)
        return self._probes[probe_id]

    def _answers(self, index: int) -> PackedAnswers:
        if index not in self._packed:
            self._packed[index] = read_answers(self.folder, self.manifest.deployments[index].answers)
        return self._packed[index]

    def calibration_answers(self, index: int) -> dict[str, Answer] | None:
        """First answers to selection and calibration probes by probe id; None where they are not kept here."""
        file = self.manifest.deployments[index].calibration
        if file is None or not (self.folder / file.path).is_file():
            return None
        return {probe_id: answers[0] for probe_id, answers in read_answers(self.folder, file).items()}

    def fits(self, suite: Suite) -> bool:
        """Whether this baseline was recorded with exactly this suite, or with the one whose probes it samples."""
        return self.manifest.suite.hash == suite.recorded.hash


def _read_checked(folder: Path, path: str, digest: str) -> bytes:
    try:
        data = (folder / path).read_bytes()
    except OSError as error:
        raise BaselineError(f"cannot read {folder / path}: {error.strerror}; record the baseline again.") from error
    if content_hash(data) != digest:
        raise BaselineError(f"{folder / path} does not have the hash its manifest states; record the baseline again.")
    return data


def read_answers(folder: Path, file: RecordedFile) -> PackedAnswers:
    """The answers in a file of the baseline in `folder`, all checked. Raises BaselineError in one clear sentence."""
    data = _read_checked(folder, file.path, file.hash)
    try:
        answers = unpack(data)
    except ValueError as error:
        raise BaselineError(f"{folder / file.path} is damaged ({error}); record the baseline again.") from error
    if len(answers) != file.probes:
        raise BaselineError(
            f"{folder / file.path} has {len(answers)} probes, its manifest says {file.probes}; "
            "record the baseline again."
        )
    return answers


def write_answers(
    folder: Path, kind: Literal["deployments", "calibration"], name: str, answers: Mapping[str, Sequence[Answer]]
) -> RecordedFile:
    """Write one deployment's answers by probe id, at least one each, in the mapping's order."""
    data = pack(answers)
    path = f"{kind}/{name}.answers"
    atomic_write(folder / path, data)
    return RecordedFile(path=path, hash=content_hash(data), probes=len(answers))


def save_manifest(folder: Path, manifest: BaselineManifest) -> None:
    """Write `manifest.json`, atomically."""
    atomic_write(folder / "manifest.json", pretty(manifest.model_dump()))


def _explain(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join([error.title, *map(str, first['loc'])])}: {first['msg']}"
    return str(error)


def load_baseline(folder: Path, *, calibrated: bool = True) -> Baseline:
    """The baseline in `folder`, without its table unless `calibrated`, or where no such table would be made now.

    Raises BaselineError in one clear sentence.
    """
    try:
        data = (folder / "manifest.json").read_bytes()
    except OSError as error:
        raise BaselineError(f"{folder} holds no baseline ({error.strerror}); record one first.") from error
    table = None
    try:
        manifest = BaselineManifest.model_validate(loads(data))
        if calibrated and manifest.calibration_hash:
            raw = _read_checked(folder, "calibration.json", manifest.calibration_hash)
            read = CalibrationTable.model_validate(loads(raw))
            table = None if read.is_narrow else read
    except ValueError as error:
        raise BaselineError(f"{folder} is not a baseline that this version reads: {_explain(error)}.") from error
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
        if name_or_path and folder.exists():
            raise BaselineError(f"{name_or_path} is no baseline folder: it holds no manifest.json.")
        raise UnknownNameError("baseline", name_or_path, known, "Or give the path of a baseline folder.")
    return load_baseline(folder)
