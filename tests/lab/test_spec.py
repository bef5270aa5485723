from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.lab.spec import ProviderSpec, known_traits, parse_spec

SHARES = st.floats(0, 1).map(str)
COUNTS = st.integers(16, 1000).map(str)
HOURS = st.tuples(st.integers(0, 23), st.integers(0, 24)).filter(lambda pair: pair[0] != pair[1])
FAILURES = st.sets(st.sampled_from(["429", "500", "reset", "stall"]), min_size=1)
PARAMETERS = st.sets(st.sampled_from(["temperature", "seed", "logprobs"]), min_size=1).map(" ".join)
NONE = st.just("")

# Values by the names of traits: those that go with whatever else there is, and those that need `route`.
ALONE = {
    "latency": SHARES,
    "fail": FAILURES.map(lambda kinds: " ".join(f"{kind}:{1 / len(kinds)}" for kind in kinds)),
    "cache": NONE,
    "filter": SHARES,
    "reject": PARAMETERS,
    "ignore": PARAMETERS,
    "temperature": SHARES,
    "max_tokens": COUNTS,
    "min_tokens": st.integers(1, 16).map(str),
    "no_logprobs": NONE,
    "k": COUNTS,
    "round": st.integers(0, 10).map(str),
    "lattice": COUNTS,
    "noise": SHARES,
    "after_temperature": st.floats(0.01, 100).map(str),
    "drop_reasoning": NONE,
    "system": st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip),
    "template": st.just("alternate"),
    "tools": st.just("json"),
    "clock": st.integers(-86400, 86400).map(str),
    "calls": SHARES,
}
ROUTED = {
    "route": SHARES,
    "hours": HOURS.map(lambda pair: f"{pair[0]}-{pair[1]}"),
    "from": COUNTS,
    "probes_honest": NONE,
    "base": st.sampled_from(["honest-b", "q2_k"]),
}
LOTS = st.one_of(
    st.just({}),
    st.sampled_from(["key", "connection"]).map(lambda by: {"sticky": by}),
    COUNTS.map(lambda length: {"burst": length}),
)
TRAITS_TOGETHER = st.builds(
    lambda alone, route, routed, lots: {**alone, "route": route, **routed, **lots},
    st.fixed_dictionaries({}, optional=ALONE),
    SHARES,
    st.fixed_dictionaries({}, optional=ROUTED),
    LOTS,
)

TABLE = (Path(__file__).parents[2] / "docs" / "lab.md").read_text()


def test_a_deployment_alone():
    spec = parse_spec("q4_k_m", "lab-tiny")
    assert spec == ProviderSpec("q4_k_m", "lab-tiny", "q4_k_m")
    assert spec.deployments == ("q4_k_m",)
    assert parse_spec("lab/q4_k_m", "lab-tiny") == spec


def test_traits_keep_their_order_and_their_values_are_decoded():
    spec = parse_spec("q4_k_m?sticky=key&route=0.05&system=You%20are%2C+100%25&no_logprobs", "lab-tiny")
    assert spec.traits == (("sticky", "key"), ("route", "0.05"), ("system", "You are, 100%"), ("no_logprobs", ""))
    assert spec.spec == "q4_k_m?sticky=key&route=0.05&system=You+are%2C+100%25&no_logprobs"


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip))
def test_any_text_survives_and_leaves_no_comma_or_space(text: str):
    spec = parse_spec(f"honest?system={quote_plus(text)}", "lab-tiny")
    assert spec.traits == (("system", text),)
    assert not {",", " "} & set(spec.spec)
    assert parse_spec(spec.spec, "lab-tiny") == spec


@settings(deadline=None)  # `probes_honest` reads the suites when it is first built
@given(TRAITS_TOGETHER.flatmap(lambda traits: st.permutations(list(traits.items()))))
def test_what_a_spec_says_is_read_and_written_back(traits: list[tuple[str, str]]):
    spec = parse_spec("q4_k_m?" + "&".join(f"{name}={quote_plus(value)}" for name, value in traits), "lab-tiny")
    assert spec.traits == tuple(traits)
    assert parse_spec(spec.spec, "lab-tiny") == spec


def test_every_trait_is_tried():
    assert set(ALONE) | set(ROUTED) | {"sticky", "burst"} == {trait.name for trait in known_traits()}


@given(st.text(), st.sampled_from(["lab-tiny", "lab-moe"]))
def test_whatever_else_is_given_is_a_usage_error(text: str, model: str):
    with suppress(ConfigurationError, UnknownNameError):
        assert parse_spec(f"q4_k_m?{text}", model).traits


@pytest.mark.parametrize(
    ("spec", "deployments"),
    [
        ("q4_k_m?route=0.05", ("q4_k_m", "honest")),
        ("q4_k_m?hours=9-17", ("q4_k_m", "honest")),
        ("q4_k_m?from=5&base=honest-b", ("q4_k_m", "honest-b")),
        ("honest?route=0.5&base=honest-b", ("honest", "honest-b")),
        ("q4_k_m?probes_honest", ("q4_k_m", "honest")),
        ("q4_k_m?k=5", ("q4_k_m",)),
    ],
)
def test_the_deployments_that_may_answer(spec: str, deployments: tuple[str, ...]):
    assert parse_spec(spec, "lab-tiny").deployments == deployments


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("honets", "unknown lab deployment 'honets': did you mean honest"),
        ("q4_k_m?rout=0.5", "unknown lab trait 'rout': did you mean route"),
        ("q4_k_m?", "unknown lab trait ''"),
        ("q4_k_m?route=0.5&base=honets", "unknown lab deployment 'honets': did you mean honest"),
    ],
)
def test_unknown_names_get_suggestions(spec: str, message: str):
    with pytest.raises(UnknownNameError, match=message):
        parse_spec(spec, "lab-tiny")


def test_deployments_are_those_of_the_model():
    with pytest.raises(UnknownNameError, match="unknown lab model 'lab-huge'"):
        parse_spec("honest", "lab-huge")
    assert parse_spec("finetuned", "lab-tiny").deployment == "finetuned"
    with pytest.raises(UnknownNameError, match="unknown lab deployment 'finetuned'"):
        parse_spec("finetuned", "lab-moe")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("q4_k_m?route=2", r"'route=2': route takes a number from 0 to 1, as in route=0\.05\."),
        ("q4_k_m?route=nan", "route takes a number from 0 to 1"),
        ("q4_k_m?route", "route takes a number from 0 to 1"),
        ("q4_k_m?from=0", "from takes a whole number from 1 to"),
        ("honest?cache=yes", "cache takes no value, as in cache"),
        ("q4_k_m?hours=9", "hours takes two different hours of the day, as in hours=9-17"),
        ("q4_k_m?hours=9-9", "two different hours"),
        ("q4_k_m?hours=22-25", "two different hours"),
        ("q4_k_m?hours=24-5", "two different hours"),
        ("honest?system=+", "system takes a text"),
        ("honest?system=%ff", "system takes a text"),
        ("honest?system=\ud800", "system takes a text"),
        ("honest?template=plain", "template takes alternate"),
        ("honest?ignore=temprature", r"ignore takes one or more of temperature, .*, joined by \+"),
        ("honest?ignore=", "ignore takes one or more of temperature"),
        ("honest?fail=429", "fail takes KIND:SHARE pairs"),
        ("honest?fail=418:0.1", "of the kinds 429, 500"),
        ("honest?fail=429:0.6+500:0.6", "their shares at most 1 together"),
        ("honest?fail=429:0.1+429:0.1", "fail takes KIND:SHARE pairs"),
        ("honest?fail=429:-1", "fail takes KIND:SHARE pairs"),
        ("honest?k=5&k=6", "k stands twice"),
        ("honest?max_tokens=4&min_tokens=16", "no answer has at most 4 and at least 16 tokens; raise max_tokens or"),
        ("q4_k_m?sticky=key", "sticky says how route draws; add a share, as in route=0.05"),
        ("q4_k_m?burst=5", "burst says how route draws"),
        ("q4_k_m?route=0.1&sticky=key&burst=5", "either sticky or come in bursts"),
        ("honest?base=honest-b", "nothing is routed to the base; add one of route, hours, from, probes_honest"),
        ("honest?route=0.5", "honest would answer all requests; name the deployment that is to answer some"),
        ("q4_k_m?route=0.5&base=q4_k_m", "q4_k_m would answer all requests"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(spec: str, message: str):
    with pytest.raises(ConfigurationError, match=message):
        parse_spec(spec, "lab-tiny")


def test_every_example_is_a_spec():
    for trait in known_traits():
        routes = "" if trait.name in ("route", "hours", "from", "probes_honest") else "route=0.5&"
        assert parse_spec(f"q4_k_m?{routes}{trait.example}", "lab-tiny").traits[-1][0] == trait.name


def test_the_documentation_lists_exactly_the_traits_there_are():
    rows = [line for line in TABLE.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{t.name}` | `{t.example}` | {t.about} |" for t in known_traits()]


def test_importing_it_is_cheap():
    code = "import sys, qcheck.lab.spec; print(sorted({'numpy', 'aiohttp', 'pydantic'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
