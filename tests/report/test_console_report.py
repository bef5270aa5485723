import math
import re
import unicodedata
from dataclasses import replace

import pytest

from qcheck.report.console import DIFFERENT, as_power_of_ten, render
from qcheck.report.paper import Paper
from qcheck.result import Evidence
from qcheck.verdict import percent

RUN = "20261123T184500-3f9a2c"
PLAIN = Paper(100)


@pytest.mark.parametrize("name", ["every_verdict", "without_reference", "hostile"])
def test_golden(name, golden, request):
    golden(f"{name}.txt", render(request.getfixturevalue(name), PLAIN, RUN))


def test_hostile_text_does_nothing_to_a_terminal(hostile):
    for character in render(hostile, PLAIN, RUN):
        assert character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def test_no_line_is_wider_than_the_paper(hostile, every_verdict):
    for result in (hostile, every_verdict):
        for width in (60, 80, 100, 200):
            assert all(len(line) <= width for line in render(result, Paper(width), RUN).splitlines())


def test_on_a_narrow_terminal_causes_stand_below_the_table(every_verdict):
    narrow = render(every_verdict, Paper(80), RUN)
    assert "openrouter/novita/fp8  deviates " in narrow
    assert "\nopenrouter/novita/fp8, likely cause: served as the recorded variant fp8 (>99%)\n" in narrow


@pytest.mark.parametrize("width", range(60, 110, 7))
def test_no_verdict_or_number_is_ever_cut(every_verdict, width):
    providers = [replace(p, name=f"{p.name}?system=Be+brief.") for p in every_verdict.providers]
    some = replace(every_verdict, providers=tuple(providers))
    shown = " ".join(render(some, Paper(width), RUN).partition("\n\n")[0].split())
    for provider in providers:
        assert provider.verdict in shown
        assert f" {as_power_of_ten(provider.log_e_value)}" in shown
        if provider.deviating.of:
            assert f"– {percent(provider.routing_fraction.high)}" in shown
    assert ("deviating" in shown, "routing" in shown) == (True, True)


@pytest.mark.parametrize("width", range(40, 80, 3))
def test_headings_are_wider_than_short_names(every_verdict, width):
    some = replace(every_verdict, providers=tuple(replace(p, name="m") for p in every_verdict.providers))
    shown = " ".join(render(some, Paper(width), RUN).partition("\n\n")[0].split())
    for provider in some.providers:
        if provider.deviating.of:
            assert f"– {percent(provider.routing_fraction.high)}" in shown


def test_colour_adds_nothing_but_colour(every_verdict):
    coloured = render(every_verdict, Paper(100, colour=True), RUN)
    assert "\x1b[32mconsistent" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == render(every_verdict, PLAIN, RUN).splitlines()


def test_a_difference_is_only_claimed_where_it_is_proven(without_reference):
    assert DIFFERENT in " ".join(render(without_reference, PLAIN, RUN).split())
    assert DIFFERENT not in " ".join(render(replace(without_reference, different=()), PLAIN, RUN).split())


@pytest.mark.parametrize(("natural", "shown"), [(0.0, "1"), (0.01, "1"), (2.302585, "10^1.0"), (-6.0, "10^-2.6")])
def test_powers_of_ten(natural, shown):
    assert as_power_of_ten(natural) == shown


def test_several_suites_are_told_apart(every_verdict):
    first = every_verdict.suites[0]
    answers = replace(first, name="answers", reference=replace(first.reference, name="graded"))
    provider = every_verdict.providers[0]
    evidence = (*provider.evidence, Evidence("answers", 7, math.log(100), 0.5, (), "answers"))
    both = replace(every_verdict, suites=(first, answers), providers=(replace(provider, evidence=evidence),))
    text = " ".join(render(both, PLAIN, RUN).split())
    assert "moonshot, by suite: logprobs 10^-0.2 from 120 answers; answers 10^2.0 from 7 answers" in text
    assert "reference, logprobs: lab-tiny, recorded" in text
    assert "reference, answers: graded, recorded" in text
