"""Real answers of a GPU beside the shipped envelope, which was made without one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accelerated import FOLDER, SUFFIX, recorded
from benchmarks.detection.alarms import stops
from benchmarks.detection.material import Material, material_of
from qcheck.baselines import load_baseline
from qcheck.suites import load_suite, shipped_folder
from qcheck.tailcounts import FULL

EVERY = 4  # of the prompts every fourth is looked at
MODEL = "lab-tiny"


@pytest.fixture(scope="module")
def material() -> Material:
    answers = recorded(MODEL)
    honest = [name for name in answers if name.startswith("honest")]
    probes = load_suite("logprobs").fold("evaluation")[::EVERY]
    return material_of(load_baseline(shipped_folder("baselines") / MODEL), probes, honest, answers)


def share_of_alarms(material: Material, name: str) -> float:
    observed = material.observed(FULL, [name])
    what = observed, material.envelope, [name], name, 1.0, observed.variants, np.random.default_rng(0)
    return stops(*what, 250, 1000).share


def test_the_recordings_are_those_of_the_benchmark():
    assert {file.name.removesuffix(SUFFIX) for file in (FOLDER / MODEL).iterdir()} == set(recorded(MODEL))
    assert len(recorded(MODEL)) == 14


def test_no_honest_deployment_on_a_gpu_is_accused(material: Material):
    assert len(material.honest) == 5
    assert {name: share_of_alarms(material, name) for name in material.honest} == dict.fromkeys(material.honest, 0.0)


@pytest.mark.parametrize("name", ["q8_0-cuda", "fp8-native"])
def test_a_quantised_one_is(material: Material, name: str):
    assert share_of_alarms(material, name) == 1.0
