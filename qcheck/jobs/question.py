"""What a user wants compared, kept as `question.json` in the run folder until the run has promised.

It is written before anything is asked, so that a run goes on from it whose discovery was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from qcheck.baselines import load_baseline
from qcheck.errors import RunFolderError
from qcheck.jobs.compare import Settings
from qcheck.jobs.promise import Question
from qcheck.jobs.reference import Reference
from qcheck.registry.loader import get_model
from qcheck.registry.resolve import resolve_all
from qcheck.registry.types import Endpoint, ModelProfile, Resolver
from qcheck.suites import load_suite

__all__ = ["QuestionEntry"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AskedEntry(_Strict):
    """A suite's folder, and its reference: a baseline's folder, or the user's words for endpoints, or nothing."""

    suite: str
    baseline: str | None
    live: str | None
    scored_by: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()


class QuestionEntry(_Strict):
    """`qcheck.jobs.promise.Question` with everything by the user's word or by place."""

    format: Literal[1] = 1
    run_id: str
    created: AwareDatetime
    model: str
    providers: Annotated[tuple[str, ...], Field(min_length=1)]
    asked: Annotated[tuple[AskedEntry, ...], Field(min_length=1)]
    automatic: bool
    settings: Settings

    @classmethod
    def of(cls, question: Question) -> QuestionEntry:
        """What is kept of a question."""
        asked = tuple(
            AskedEntry(
                suite=str(suite.folder.resolve()),
                baseline=str(it.baseline.folder.resolve()) if it.baseline else None,
                live=_word(it.live) if it.live else None,
                scored_by=tuple(map(_word, it.scored_by)),
                variants=tuple(map(_word, it.variants)),
            )
            for suite, it in question.asked
        )
        return cls(
            run_id=question.run_id,
            created=question.created,
            model=question.model.name,
            providers=tuple(map(_word, question.providers)),
            asked=asked,
            automatic=question.automatic,
            settings=question.settings,
        )

    @classmethod
    def parse(cls, data: dict[str, Any]) -> QuestionEntry:
        """What was kept in a run folder. Raises RunFolderError."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise RunFolderError(
                f"the run's question is not one that this version reads ({where}); start a new run."
            ) from error

    def question(self, resolvers: Sequence[Resolver]) -> Question:
        """The question again. Raises UsageError where anything that it names is gone."""
        self.settings.check()
        model = get_model(self.model)
        providers = resolve_all(self.providers, model, resolvers)
        asked = tuple((load_suite(it.suite), _reference(it, model, resolvers)) for it in self.asked)
        return Question(self.run_id, self.created, model, providers, asked, self.automatic, self.settings)


def _reference(asked: AskedEntry, model: ModelProfile, resolvers: Sequence[Resolver]) -> Reference:
    baseline = load_baseline(Path(asked.baseline)) if asked.baseline else None
    live = resolve_all([asked.live], model, resolvers)[0] if asked.live else None
    scored_by, variants = (resolve_all(words, model, resolvers) for words in (asked.scored_by, asked.variants))
    return Reference(baseline, live, scored_by=scored_by, variants=variants)


def _word(endpoint: Endpoint) -> str:
    return endpoint.spec or endpoint.name
