from __future__ import annotations

import pytest

from qcheck.lab.catalog import DEPLOYMENTS, PROVIDERS, EngineSettings


def test_every_provider_is_served_by_known_deployments():
    for name, provider in PROVIDERS.items():
        assert provider.name == name
        assert set(provider.deployments) <= set(DEPLOYMENTS)
        assert provider.description
        assert provider.route is None or 0 < provider.route.fraction < 1


def test_kinds_say_what_a_provider_does():
    for provider in PROVIDERS.values():
        deployment = DEPLOYMENTS[provider.deployment]
        released = deployment.model_file == "lab-tiny-f16.gguf" and deployment.format in ("F16", "F32", "BF16")
        plain = provider.route is None and provider.system_prompt is None
        assert plain == (provider.kind != "gateway")
        assert released == (provider.kind != "variant")


def test_deployments_differ_from_one_another():
    essence = [(d.model_file, d.format, d.settings) for d in DEPLOYMENTS.values()]
    assert len(set(essence)) == len(essence)


@pytest.mark.parametrize("name", ["honest", "q8_0", "q6_k", "q4_k_m", "q2_k", "other-model"])
def test_what_must_repeat_bit_for_bit_has_one_slot_and_no_cache(name: str):
    assert DEPLOYMENTS[name].settings == EngineSettings(threads=1, slots=1, cache_prompt=False, flash_attention=False)
