"""No line that a board or a meter prints ends gfbench: mutated lines through every parser."""

from __future__ import annotations

import os
import random

import pytest
from mutations import PARSERS, mutated

LINES = int(os.environ.get("GFBENCH_FUZZ_LINES") or 20_000)


@pytest.mark.parametrize("name", PARSERS)
def test_mutated_lines_raise_nothing(name: str) -> None:
    parser = PARSERS[name]
    rng = random.Random(f"20261130 {name}")
    count, readable = LINES // parser.every, 0
    for _ in range(count):
        line = mutated(rng.choice(parser.base), rng.choice(parser.base), rng)
        try:
            readable += parser.check(line)
        except Exception as error:
            raise AssertionError(f"{name} cannot take {line!r}") from error
    assert readable > parser.readable * count, "too little is left to read"
