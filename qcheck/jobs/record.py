"""Record a deployment into a baseline, resumably, and calibrate the envelope anew."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from qcheck.baselines import (
    Answer,
    BaselineManifest,
    DeploymentEntry,
    SuiteEntry,
    answer_of,
    load_baseline,
    save_manifest,
    write_answers,
)
from qcheck.errors import BaselineError, ConfigurationError, QcheckError, RunFolderError
from qcheck.evidence.calibration import Block, calibrate
from qcheck.jobs.discover import discover
from qcheck.jobs.known import hopeless, read_offer, with_offer, write_offer
from qcheck.jsonio import as_storage_error, atomic_write, content_hash, loads, pretty, why_unwritable
from qcheck.records import Attempt, Request
from qcheck.registry.observables import UNTOLD_WAY, lost_observables
from qcheck.registry.types import Endpoint, ModelProfile
from qcheck.result import Provenance
from qcheck.run.budget import Budget, Limits, is_plan
from qcheck.run.execute import Asker, Settled, Stopped, execute
from qcheck.run.journal import Journal, read_journal, settled_requests
from qcheck.run.plan import PlanItem, make_plan
from qcheck.suites import Probe, Suite

__all__ = ["Recording", "check", "find_out", "recalibrate", "record"]

MARKER, JOURNAL = "recording.json", "journal.jsonl"  # in the working folder
# What is to change for a recording to go on, where a limit ended it: all that was asked for it counts.
AGAIN_WITH = {"max_requests": " with a higher --max-requests", "budget": " with a higher --budget"}


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded: a deployment's name and description in the baseline at `folder`."""

    folder: Path
    name: str
    description: str
    role: Literal["reference", "variant"]
    provenance: Provenance
    repeats: int = 1
    concurrency: int = 4
    limits: Limits = field(default_factory=Limits)

    @property
    def work(self) -> Path:
        """Where it is kept until it is complete."""
        return self.folder / f".recording-{self.name}"

    def times(self, probe: Probe) -> int:
        """How often a probe is asked."""
        return self.repeats if probe.fold == "evaluation" else 1

    def requests(self, suite: Suite) -> int:
        """How many requests the suite takes."""
        return sum(map(self.times, suite.probes))


class RecordingError(QcheckError):
    """A recording that could not be completed; what was answered is kept and is not asked again."""

    exit_code = 3


def check(what: Recording, model: ModelProfile, suite: Suite, endpoint: Endpoint) -> None:
    """Raise BaselineError or ConfigurationError where the recording cannot be kept; called before anything is sent."""
    manifest = _manifest(what, model, suite)
    if not _only_uncalibrated(manifest, what, endpoint):
        _check_new(manifest, what)
        _check_claim(what, suite, endpoint)
    if reason := why_unwritable(what.folder):
        raise ConfigurationError(f"no baseline can be kept in {what.folder}: {reason}; choose another --out.")


async def find_out(what: Recording, model: ModelProfile, suite: Suite, endpoint: Endpoint, key: str | None) -> Endpoint:
    """The endpoint as it is to be recorded, given what it is found to offer, which is asked once for a recording.

    What that takes stands in the recording's journal and counts in its limits. Nothing is asked for a recording that is
    finished. Raises BaselineError (also where the name is recorded already), StorageError, and RecordingError where
    what the suite observes is not on offer.
    """
    manifest = _manifest(what, model, suite)
    if _only_uncalibrated(manifest, what, endpoint):
        return endpoint
    _check_new(manifest, what)
    _claim(what, suite, endpoint)
    kept, path = what.work / "offer.json", what.work / JOURNAL
    if offer := read_offer(kept):
        return with_offer(endpoint, offer)
    with Journal.open(path) as journal:
        before = read_journal(path)
        seq = min((a.seq for a in before), default=0) - 1
        budget = _budget(what, endpoint, before)
        (found,) = await discover([endpoint], {endpoint.name: key}, {}, budget, journal.append, seq=seq)
    if found.endpoint.dialect.thinking_off == "unknown":
        raise RecordingError(f"{what.name} cannot be recorded: {UNTOLD_WAY}.")
    lost = lost_observables(found.endpoint)
    if hopeless(found.endpoint) or ("logprobs" in suite.manifest.observes and "logprobs" in lost):
        raise RecordingError(f"{what.name} cannot be recorded with the suite {suite.name}: {lost['logprobs']}.")
    if found.offer:
        write_offer(kept, found.offer)
    return found.endpoint


async def record(
    what: Recording,
    model: ModelProfile,
    suite: Suite,
    endpoint: Endpoint,
    asker: Asker,
    on_settled: Callable[[int, int], None] = lambda done, total: None,
) -> BaselineManifest:
    """Ask every probe (evaluation probes `repeats` times), write the answers, update the manifest.

    Interrupted, it goes on where it stopped when called again with the same arguments; where nothing but calibrating
    is left, it asks nothing. `on_settled` gets how many requests are done and how many there are. Raises BaselineError
    (also where the name is recorded already), RecordingError or StorageError.
    """
    manifest = _manifest(what, model, suite)
    if _only_uncalibrated(manifest, what, endpoint):
        shutil.rmtree(what.work, ignore_errors=True)
        return manifest
    _check_new(manifest, what)
    evaluation = [p.id for p in suite.fold("evaluation")]
    calibration = [p.id for p in suite.probes if p.fold != "evaluation"]
    once = [PlanItem(endpoint.name, seq, probe) for seq, probe in enumerate(calibration)]
    often = make_plan([endpoint.name], [evaluation], seed=0, repeats=what.repeats)
    plan = [*once, *(PlanItem(i.provider, len(once) + i.seq, i.probe_id, i.repeat) for i in often)]
    _claim(what, suite, endpoint)
    attempts, reason = await _ask(plan, suite, endpoint, asker, what, on_settled)
    answers = {(a.seq): a for a in attempts if a.response}
    missing = len(plan) - len(answers)
    if reason != "exhausted" or missing > len(plan) // 50:
        errors = {a.error for a in attempts if a.outcome == "failed"}
        raise RecordingError(
            f"{what.name}: {len(answers)} of {len(plan)} requests answered, then: {reason}"
            f"{' (' + '; '.join(sorted(filter(None, errors))[:3]) + ')' if errors else ''}; "
            f"the answers are kept, so run the same command again{AGAIN_WITH.get(reason, '')}."
        )
    with _locked(what.folder):
        # Another deployment may have been recorded into the same folder meanwhile.
        manifest = _manifest(what, model, suite)
        _check_new(manifest, what)
        manifest = _finish(manifest, what, suite, plan, answers, endpoint)
    with as_storage_error(what.work):
        shutil.rmtree(what.work)
    return manifest


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within the block no other process changes the manifest of the baseline in `folder`; waits for its turn."""
    with as_storage_error(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        with as_storage_error(folder):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _check_new(manifest: BaselineManifest, what: Recording) -> None:
    if any(d.name == what.name for d in manifest.deployments):
        raise BaselineError(
            f"{what.name} is recorded already in {what.folder}; choose another --name, or remove it there."
        )


def _only_uncalibrated(manifest: BaselineManifest, what: Recording, endpoint: Endpoint) -> bool:
    """Whether this very recording is finished, and was interrupted before an envelope could be calibrated."""
    references = [d for d in manifest.deployments if d.role == "reference"]
    identity = (what.name, what.role, what.repeats, endpoint.display)
    return (
        manifest.calibration_hash is None
        and len(references) > 1
        and any((d.name, d.role, d.repeats, d.endpoint) == identity for d in manifest.deployments)
    )


def _manifest(what: Recording, model: ModelProfile, suite: Suite) -> BaselineManifest:
    entry = SuiteEntry(name=suite.name, version=suite.manifest.version, hash=suite.hash)
    if not (what.folder / "manifest.json").exists():
        return BaselineManifest(format=2, model=model.name, suite=entry, deployments=[])
    manifest = load_baseline(what.folder, calibrated=False).manifest
    if manifest.model != model.name or manifest.suite != entry:
        raise BaselineError(
            f"{what.folder} holds {manifest.model} recorded with {manifest.suite.name} {manifest.suite.version}; "
            "choose another folder with --out."
        )
    return manifest


def _claim(what: Recording, suite: Suite, endpoint: Endpoint) -> None:
    """Make the working folder, or check that it belongs to the very same recording."""
    if identity := _check_claim(what, suite, endpoint):
        if what.work.exists():
            with Journal.open(what.work / JOURNAL):  # from here on nobody else writes it
                _check_claim(what, suite, endpoint)
                shutil.rmtree(what.work)
        atomic_write(what.work / MARKER, pretty(identity))


def _check_claim(what: Recording, suite: Suite, endpoint: Endpoint) -> dict[str, Any] | None:
    """What the working folder is to say whose it is; None where it says so. Raises BaselineError where others need it.

    Another recording does that has answers: a mistyped address leaves none.
    """
    mine = {"suite": suite.hash, "endpoint": endpoint.display, "repeats": what.repeats, "role": what.role}
    marker, journal = what.work / MARKER, what.work / JOURNAL
    try:
        theirs = loads(marker.read_bytes()) if marker.exists() else None
        before = read_journal(journal) if journal.exists() else []
    except (ValueError, RunFolderError) as error:
        raise BaselineError(
            f"{what.work}, where a recording was begun, is damaged: remove it to begin anew."
        ) from error
    if theirs == mine:
        return None
    if any(a.outcome == "answered" and not a.discovery for a in before):
        other = theirs.get("endpoint", "another endpoint") if isinstance(theirs, dict) else "another endpoint"
        raise BaselineError(
            f"{what.work} holds an unfinished recording of {other} with the same name; go on with that, remove it, or "
            "choose another --name."
        )
    return mine


async def _ask(
    plan: list[PlanItem],
    suite: Suite,
    endpoint: Endpoint,
    asker: Asker,
    what: Recording,
    on_settled: Callable[[int, int], None],
) -> tuple[list[Attempt], str]:
    probes = {p.id: p for p in suite.probes}
    path = what.work / JOURNAL

    def request_for(item: PlanItem) -> Request:
        return suite.request(probes[item.probe_id], endpoint.temperature, endpoint.dialect.top_logprobs_max)

    reason, done = "interrupted", 0
    with Journal.open(path) as journal:
        before = read_journal(path)
        answered = {key: a for key, a in settled_requests(before).items() if a.outcome == "answered"}
        events = execute(
            plan,
            {endpoint.name: asker},
            request_for,
            journal,
            answered=answered,
            budget=_budget(what, endpoint, before),
            should_stop=lambda _: None,
            concurrency=what.concurrency,
        )
        async with contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, Settled):
                    done += 1
                    on_settled(done, len(plan))
                elif isinstance(event, Stopped):
                    reason = event.reason
    settled = settled_requests(read_journal(path))
    return [a for a in settled.values() if not a.discovery], reason


def _budget(what: Recording, endpoint: Endpoint, before: Sequence[Attempt]) -> Budget:
    """What may be spent on a recording, of which `before` is what was asked; what failed is asked again."""
    return Budget(
        what.limits,
        {endpoint.name: endpoint.price} if endpoint.price else {},
        [replace(a, outcome="retried") if a.outcome == "failed" and not a.discovery else a for a in before],
        plans=[endpoint.name] if is_plan(endpoint) else [],
        min_tokens={endpoint.name: endpoint.dialect.min_tokens},
    )


def _finish(
    manifest: BaselineManifest,
    what: Recording,
    suite: Suite,
    plan: list[PlanItem],
    answers: Mapping[int, Attempt],
    endpoint: Endpoint,
) -> BaselineManifest:
    """Write the answers and the manifest that names them."""
    evaluated = {p.id for p in suite.fold("evaluation")}
    evaluation: dict[str, list[Answer]] = {}
    calibration: dict[str, list[Answer]] = {}
    for item in plan:
        attempt = answers.get(item.seq)
        if attempt is None or attempt.response is None:
            continue
        target = evaluation if item.probe_id in evaluated else calibration
        answer = answer_of(attempt.response, with_text=suite.judges_text, with_calls=suite.judges_calls)
        target.setdefault(item.probe_id, []).append(answer)
    first = min(answers.values(), key=lambda a: a.started)
    response = first.response
    entry = DeploymentEntry(
        name=what.name,
        role=what.role,
        description=what.description,
        provenance=what.provenance,
        recorded=datetime.now(UTC).isoformat(timespec="seconds"),
        endpoint=endpoint.display,
        reported_model=response.reported_model if response else None,
        fingerprint=response.fingerprint if response else None,
        repeats=what.repeats,
        temperature=endpoint.temperature,
        date_string=endpoint.date_string,
        thinking_off=endpoint.dialect.thinking_off,
        answers=write_answers(what.folder, "deployments", what.name, dict(sorted(evaluation.items()))),
        calibration=write_answers(what.folder, "calibration", what.name, dict(sorted(calibration.items()))),
    )
    deployments = [*manifest.deployments, entry]
    updated = manifest.model_copy(update={"deployments": deployments, "calibration_hash": None})
    save_manifest(what.folder, updated)
    return updated


def recalibrate(
    folder: Path,
    suite: Suite,
    on_progress: Callable[[str], None] = lambda _: None,
    further: Iterable[Block] = (),
    directed: Sequence[str] | None = None,
) -> bool:
    """Make `calibration.json` anew from the recorded answers; False with fewer than two honest deployments.

    `further` answers deepen it, and directions are those of the variants `directed` (see `calibrate`). Raises
    BaselineError where calibration answers are missing or few, or honest ones hardly differ.
    """
    with _locked(folder):
        baseline = load_baseline(folder, calibrated=False)
        table = calibrate(baseline, suite, on_progress, further, directed)
        if table is None:
            return False
        data = pretty(table.model_dump()).encode()
        atomic_write(folder / "calibration.json", data)
        save_manifest(folder, baseline.manifest.model_copy(update={"calibration_hash": content_hash(data)}))
        return True
