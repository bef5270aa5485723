"""Real answers of a GPU beside the shipped envelope, which was made without one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import accelerated
from benchmarks.detection.alarms import stops
from benchmarks.detection.material import Material, material_of
from benchmarks.detection.observed import Observed
from qcheck.baselines import load_baseline
from qcheck.evidence.views import VIEWS
from qcheck.lab.catalog import deployments_of
from qcheck.suites import load_suite, shipped_folder

MODEL, EVERY = "lab-tiny", 10  # of the prompts every tenth is looked at
COARSE = "honest-cuda-bf16"  # the noisiest of the honest ones
# Requests within which nine of ten streams find a tenth of the requests deviating, at least: twice what RESULTS.md has.
WITHIN = {"q4_k_m-cuda": 74, "fp8-native": 90, "q6_k-cuda": 102}


@pytest.fixture(scope="module")
def material() -> Material:
    suite = load_suite("logprobs")
    answers = accelerated.recorded(MODEL, suite)
    honest = [name for name in answers if deployments_of(MODEL)[name].kind == "gpu-honest"]
    probes = suite.fold("evaluation")[::EVERY]
    return material_of(load_baseline(shipped_folder("baselines") / MODEL), probes, honest, answers)


@pytest.fixture(scope="module")
def observed(material: Material) -> Observed:
    return material.observed("full", [*material.honest, *WITHIN])


def test_every_deployment_that_needs_a_gpu_was_recorded(material: Material):
    assert {name for name, d in deployments_of(MODEL).items() if d.needs_gpu} <= set(material.answers)


def test_no_honest_deployment_on_a_gpu_is_accused(material: Material, observed: Observed):
    for name in material.honest:
        what = material.envelope, [name], name, 1.0, observed.variants, np.random.default_rng(0)
        assert stops(observed, *what, 250, 1000).share == 0, name


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_noisiest_shows_no_more_than_the_null_bounds_allow(material: Material, view):
    observed = material.observed(view.name, [COARSE])
    shown = observed.hits(COARSE, material.envelope, observed.variants).sum(axis=0)
    assert (shown <= observed.bounds(material.envelope).sum(axis=0)).all()


@pytest.mark.parametrize("name", WITHIN)
def test_a_tenth_of_the_requests_to_a_quantised_one_is_found(material: Material, observed: Observed, name: str):
    what = material.envelope, material.honest, name, 0.1, observed.variants, np.random.default_rng(0)
    found = stops(observed, *what, 250, 1000)
    assert 10 < (found.quantile(0.9) or 1000) <= WITHIN[name]


def test_what_was_recorded_of_other_weights_or_prompts_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch):
    entries = json.loads((accelerated.FOLDER / f"{MODEL}.json").read_bytes())
    entries[COARSE]["identity"] = "sha256:0"
    (tmp_path / f"{MODEL}.json").write_text(json.dumps({COARSE: entries[COARSE]}))
    monkeypatch.setattr(accelerated, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=f"{COARSE} of {MODEL} is not what was recorded"):
        accelerated.recorded(MODEL, load_suite("logprobs"))
