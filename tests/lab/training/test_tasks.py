from __future__ import annotations

import operator
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.lab.training.tasks import FAMILIES, Task, generate

SEEDS = st.integers(0, 2**32 - 1)
OPERATIONS = {"+": operator.add, "-": operator.sub}


def drawn(seed: int, family: str, level: int) -> Task:
    return generate(np.random.default_rng(seed), family, level)


@given(SEEDS, st.sampled_from(sorted(FAMILIES)), st.integers(1, 3))
def test_a_seed_gives_one_task(seed: int, family: str, level: int):
    task = drawn(seed, family, level)
    assert task == drawn(seed, family, level)
    assert (task.family, task.level) == (family, level)


@given(SEEDS, st.sampled_from(["addition", "subtraction"]), st.integers(1, 3))
def test_every_step_of_a_sum_is_right_and_the_last_gives_the_answer(seed: int, family: str, level: int):
    task = drawn(seed, family, level)
    a, b = map(int, re.findall(r"\d+", task.prompt))
    assert int(task.answer) == (a + b if family == "addition" else a - b)
    steps = re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", task.reasoning)
    assert " ".join(f"{x} {sign} {y} = {z}." for x, sign, y, z in steps) == task.reasoning
    assert all(OPERATIONS[sign](int(x), int(y)) == int(z) for x, sign, y, z in steps)
    assert steps[-1][-1] == task.answer


@pytest.mark.parametrize("family", ["comparison", "holder", "colour", "position"])
@given(SEEDS, st.integers(1, 3))
def test_reasoning_ends_in_the_answer(family: str, seed: int, level: int):
    task = drawn(seed, family, level)
    assert task.reasoning.endswith(f" {task.answer}.")
    assert task.answer in task.prompt


@given(SEEDS, st.integers(1, 3))
def test_a_sorted_answer_lies_between_what_reasoning_says(seed: int, level: int):
    task = drawn(seed, "sorting", level)
    numbers = [int(x) for x in task.answer.split(", ")]
    assert numbers == sorted(map(int, re.findall(r"\d+", task.prompt)))
    assert task.reasoning == f"The smallest is {numbers[0]}, the largest is {numbers[-1]}."


@given(SEEDS, st.integers(1, 3))
def test_parity_follows_from_the_last_digit(seed: int, level: int):
    task = drawn(seed, "parity", level)
    number, asked = re.fullmatch(r"Is (\d+) an (even|odd) number\?", task.prompt).groups()
    parity = "odd" if int(number) % 2 else "even"
    assert task.reasoning == f"It ends in {number[-1]}, so it is {parity}."
    assert task.answer == ("yes" if parity == asked else "no")
