"""Text sampled at temperature 1, compared with a recording of log-probabilities, on real engines."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from qcheck.errors import ConfigurationError
from qcheck.jobs.compare import Settings, make_manifest
from qcheck.jobs.estimate import estimate
from qcheck.jobs.reference import Reference, choose_references
from qcheck.jobs.verify import verify
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.run.budget import Limits
from qcheck.suites import Suite, load_suite, shipped_folder

MODEL = get_model("lab-tiny")
SETTINGS = Settings(3, limits=Limits(max_requests=600))


@pytest.fixture(scope="module")
def samples() -> Suite:
    return load_suite("samples")


def test_samples_alone_convict_what_was_trained_further_and_nobody_honest(
    lab: Lab, run: Any, samples: Suite, shipped: Reference
) -> None:
    """Draws cannot be repeated; the limit is more than what nine runs in ten need to convict."""
    result, folder = run([lab.endpoint("finetuned")], shipped, SETTINGS, samples)
    (other,) = result.providers
    assert (other.verdict, other.decided_by) == ("deviates", "evidence")
    assert "likelier under a deviation" in other.summary
    assert other.deviating.answers >= 2
    assert other.nearest[0].variant == "finetuned"
    assert [e.observable for e in other.evidence] == ["sampled_text", "prompt_tokens"]
    assert verify(folder).differences == ()

    fewer = replace(SETTINGS, limits=Limits(max_requests=150))
    result, _ = run([lab.endpoint("honest-b")], shipped, fewer, samples)
    (honest,) = result.providers
    assert (honest.verdict, honest.stop_reason) == ("inconclusive", "max_requests")
    assert honest.log_e_value < math.log(3)
    assert "answers that show more" in honest.summary


def test_the_reference_is_the_baseline_of_the_suite_whose_probes_these_are(samples: Suite, shipped: Reference) -> None:
    (found,) = choose_references(None, MODEL, [samples], [shipped_folder("baselines")], [], {})
    assert found.baseline is not None
    assert shipped.baseline is not None
    assert found.baseline.name == shipped.baseline.name


def test_the_plan_promises_no_agreement(lab: Lab, samples: Suite, shipped: Reference) -> None:
    endpoints = [lab.endpoint("honest")]
    manifest = make_manifest("r", datetime.now(UTC), MODEL, endpoints, [(samples, shipped)], SETTINGS)
    plan = estimate(manifest, manifest.load_panels())
    assert plan.could_reject
    assert "never agreement" in plan.detectability
    assert [p.requests_expected for p in plan.providers] == [None]


def test_another_pinned_temperature_takes_another_suite(lab: Lab, samples: Suite, shipped: Reference) -> None:
    pinned = [replace(lab.endpoint("honest"), temperature=0.6)]
    with pytest.raises(ConfigurationError, match=r"temperature 0\.6 alone .* asks at 1 \(copy its suite\.json"):
        make_manifest("r", datetime.now(UTC), MODEL, pinned, [(samples, shipped)], SETTINGS)


def test_a_reference_recorded_after_a_temperature_is_refused(lab: Lab, samples: Suite, shipped: Reference) -> None:
    baseline = shipped.baseline
    assert baseline is not None
    first, *others = baseline.manifest.deployments
    warm = baseline.manifest.model_copy(
        update={"deployments": [first.model_copy(update={"temperature": 0.6}), *others]}
    )
    asked = [(samples, Reference(baseline=replace(baseline, manifest=warm)))]
    with pytest.raises(ConfigurationError, match=r"recorded at temperature 0\.6.*record it at temperature 0"):
        make_manifest("r", datetime.now(UTC), MODEL, [lab.endpoint("honest")], asked, SETTINGS)
