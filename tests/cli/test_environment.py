"""When the lab starts, with which engines and which seed."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from qcheck.cli.environment import keys_for, open_environment
from qcheck.cli.messages import Messages
from qcheck.errors import ConfigurationError
from qcheck.lab.spec import parse_spec
from qcheck.registry.loader import get_model
from qcheck.registry.resolve import resolve_all
from qcheck.registry.types import Endpoint


class FakeLab:
    """Remembers what was wanted of it."""

    opened: ClassVar[list] = []

    truth_log = "truth.jsonl"

    def __init__(self, state=None, *, seed=None, on_progress=None):
        self.seed, self.wanted, self.closed = seed, [], False
        self.opened.append(self)

    def endpoints(self, names, model):
        return self.serve([parse_spec(name, model) for name in names])

    def serve(self, providers):
        names = [p.spec for p in providers]
        self.wanted += names
        (template,) = resolve("lab/honest")
        return [replace(template, name=f"lab/{n}", base_url=f"http://127.0.0.1:1/{n}/v1") for n in names]

    def close(self):
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def resolve(*specs):
    with open_environment(Messages(), None) as environment:
        return resolve_all(specs, get_model("lab-tiny"), environment.resolvers)


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr("qcheck.cli.environment.Lab", FakeLab)
    monkeypatch.setattr("qcheck.lab.supervisor.Lab", FakeLab)
    monkeypatch.setattr(FakeLab, "opened", [])
    return FakeLab.opened


def test_all_engines_start_together_with_the_seed_of_the_run_and_end_with_the_command(opened, capsys):
    with open_environment(Messages(), None, seed=7) as environment:
        endpoints = resolve_all(
            ["lab/q2_k", "mine=http://127.0.0.1:9/v1", "lab/honest"], get_model("lab-tiny"), environment.resolvers
        )
        assert opened == []
        running = environment.started(endpoints)
        assert [e.base_url for e in running] == [
            "http://127.0.0.1:1/q2_k/v1",
            "http://127.0.0.1:9/v1",
            "http://127.0.0.1:1/honest/v1",
        ]
    (lab,) = opened
    assert (lab.seed, lab.wanted, lab.closed) == (7, ["q2_k", "honest"], True)
    assert capsys.readouterr().err == "starting local engines for q2_k, honest\n"


def ctrl_c(_):
    raise KeyboardInterrupt


def test_a_provider_of_the_lab_is_served_once_whatever_it_is_called(qcheck, opened, monkeypatch):
    monkeypatch.setattr("qcheck.cli.lab.time", SimpleNamespace(sleep=ctrl_c))
    spoken = qcheck("lab", "up", "honest", "lab/honest")
    assert spoken.out == "qcheck compare lab-tiny --providers honest=http://127.0.0.1:1/honest/v1\n"


def test_specs_become_names_that_differ(qcheck, opened, monkeypatch):
    monkeypatch.setattr("qcheck.cli.lab.time", SimpleNamespace(sleep=ctrl_c))
    spoken = qcheck("lab", "up", "honest?system=A", "honest?system=a", "--seed", "5")
    names = [pair.partition("=")[0] for pair in spoken.out.split()[-1].split(",")]
    assert names == ["honest-system-a", "honest-system-a-2"]
    assert "who really answers stands in truth.jsonl" in spoken.err


def test_a_key_in_the_address_is_refused_and_not_told():
    there = Endpoint("p", "p", "https://p.example/sk-canary%2F1/v1", "m", "P_KEY")
    with pytest.raises(ConfigurationError, match="holds the key in P_KEY") as caught:
        keys_for([there], {"P_KEY": "sk-canary/1"})
    assert "canary" not in str(caught.value)


def test_a_place_holder_may_stand_in_the_address():
    there = Endpoint("p", "p", "http://localhost:1/v1", "m", "P_KEY")
    assert keys_for([there], {"P_KEY": "local"}) == {"p": "local"}
