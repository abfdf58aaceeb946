"""The gate's promises on energy, on simulated boards whose joules are known."""

from __future__ import annotations

import energy_gate_simulation as simulation
import pytest

AVERAGING, COUNTER = "averaging sensor, 10 Hz", "energy counter, 10 Hz"


@pytest.mark.parametrize("name", [AVERAGING, COUNTER])
def test_twenty_gates_of_a_kernel_against_itself_do_not_fail(name: str) -> None:
    found = simulation.experiments(20, sensor=simulation.SENSORS[name], effect=0.0, seed=1)
    assert "FAIL" not in found.statuses
    assert found.share("PASS") >= 0.9


@pytest.mark.parametrize("name", [AVERAGING, COUNTER])
def test_a_kernel_that_takes_a_tenth_more_energy_fails_and_never_passes(name: str) -> None:
    found = simulation.experiments(10, sensor=simulation.SENSORS[name], effect=0.1, seed=2)
    assert found.share("FAIL") >= 0.9
    assert "PASS" not in found.statuses
    assert found.verified == found.statuses.count("FAIL")
