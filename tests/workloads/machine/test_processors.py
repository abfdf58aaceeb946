"""ARM cores by their names; /proc/cpuinfo has only numbers for them."""

from __future__ import annotations

import pytest

from workloads.machine import processors


def cpuinfo(*cores: tuple[str, str]) -> list[str]:
    """Return the lines of a machine with these makers and parts, one core each."""
    lines = []
    for number, (maker, part) in enumerate(cores):
        lines += [f"processor\t: {number}", "BogoMIPS\t: 38.40"]
        lines += [f"CPU implementer\t: {maker}", "CPU variant\t: 0x1", f"CPU part\t: {part}", ""]
    return lines


@pytest.mark.parametrize(
    ("cores", "name"),
    [
        ([("0x41", "0xd07")] * 4, "4 x Cortex-A57"),
        ([("0x41", "0xd08")] * 4, "4 x Cortex-A72"),
        ([("0x41", "0xd0b")] * 4, "4 x Cortex-A76"),
        ([("0x41", "0xd42")] * 12, "12 x Cortex-A78AE"),
        ([("0x4e", "0x004")] * 8, "8 x Carmel"),
        (
            [("0x41", "0xd07"), *[("0x4e", "0x003")] * 2, *[("0x41", "0xd07")] * 3],
            "4 x Cortex-A57 + 2 x Denver 2",
        ),
        ([("0x41", "0xd07"), ("0x41", "0xfff")], None),
        ([("0x41", "nonsense")], None),
        ([], None),
    ],
)
def test_arm_cores_have_names(
    monkeypatch: pytest.MonkeyPatch, cores: list[tuple[str, str]], name: str | None
) -> None:
    monkeypatch.setattr(processors, "_cpuinfo", lambda: cpuinfo(*cores))
    assert processors.cpu_name() == name


def test_what_calibrations_know_an_arm_machine_by_stays_what_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processors, "_cpuinfo", lambda: cpuinfo(("0x41", "0xd07")))
    assert processors.cpu_model() == "ARM implementer 0x41 part 0xd07"


def test_an_x86_processor_says_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["processor\t: 0", "model name\t: Intel(R) N100", "flags\t\t: fpu"]
    monkeypatch.setattr(processors, "_cpuinfo", lambda: lines)
    assert (processors.cpu_model(), processors.cpu_name()) == ("Intel(R) N100", None)
