from __future__ import annotations

import pytest

from qcheck.errors import UnknownNameError
from qcheck.lab.catalog import MODELS, CudaSettings, EngineSettings, TorchSettings, deployments_of
from qcheck.lab.supervisor import MODELS_DIR
from qcheck.registry.loader import load_models


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_in_the_registry_and_its_files_are_there(model: str):
    profile = load_models()[model]
    assert profile.thinks == bool(MODELS[model].template.get("thinking"))
    assert profile.dated_template == bool(MODELS[model].template.get("dated"))
    for weights in MODELS[model].sources.values():
        assert (MODELS_DIR / weights.file).is_file()
        assert weights.adapter is None or (MODELS_DIR / weights.adapter).is_file()


@pytest.mark.parametrize("model", MODELS)
def test_kinds_say_what_a_deployment_does(model: str):
    for deployment in deployments_of(model).values():
        settings = deployment.settings
        full = settings.kv == "F16" if isinstance(settings, EngineSettings) else settings != CudaSettings(fp8=True)
        released = deployment.source == "release" and deployment.format in ("F16", "F32", "BF16") and full
        assert released == deployment.name.startswith("honest"), deployment.name
        assert released == (deployment.kind in ("reference", "second", "held-out", "gpu-honest")), deployment.name
        assert deployment.needs_gpu == deployment.kind.startswith("gpu"), deployment.name


@pytest.mark.parametrize("model", MODELS)
def test_deployments_differ_from_one_another(model: str):
    essence = [(d.source, d.format, d.settings) for d in deployments_of(model).values()]
    assert len(set(essence)) == len(essence)


def test_a_model_is_served_only_from_weights_that_it_has():
    assert "other-model" in deployments_of("lab-twin")
    assert {"other-model", "finetuned"}.isdisjoint(deployments_of("lab-moe"))


def test_both_engines_serve_honest_deployments_in_and_out_of_the_baseline():
    kinds = {(d.kind, type(d.settings)) for d in deployments_of("lab-tiny").values()}
    assert {(k, t) for k in ("reference", "held-out") for t in (EngineSettings, TorchSettings)} <= kinds


def test_an_unknown_model_gets_suggestions():
    with pytest.raises(UnknownNameError, match="lab-tiny"):
        deployments_of("lab-tinny")
