"""NVML by its C interface: a stand-in library, compiled here, answers as a driver would."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from workloads.machine import nvml
from workloads.sampler.sensors import Nvml

# The functions and structures of NVIDIA's nvml.h that are used. Card 0 knows everything, card 1
# has no counter and no instant field; the counter rises by 1 J with every call.
LIBRARY = r"""
#include <string.h>
typedef void *device;
typedef struct {
  unsigned fieldId, scopeId;
  long long timestamp, latencyUsec;
  unsigned valueType;
  unsigned nvmlReturn;
  union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; } value;
} field_value;
static int cards[2] = {0, 1}, started;
static unsigned long long energy_mj = 5000000000000ULL;
int nvmlInit_v2(void) { started++; return 0; }
int nvmlShutdown(void) { started--; return started < 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return started ? 0 : 1; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out) {
  if (index > 1) return 6;
  *out = &cards[index];
  return 0;
}
int nvmlDeviceGetName(device card, char *text, unsigned length) {
  strncpy(text, card == &cards[0] ? "NVIDIA Whole" : "NVIDIA Half", length);
  return 0;
}
int nvmlDeviceGetUUID(device card, char *text, unsigned length) {
  strncpy(text, "GPU-1234", length);
  return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(device card, unsigned long long *out) {
  if (card != &cards[0]) return 3;
  *out = energy_mj += 1000;
  return 0;
}
int nvmlDeviceGetPowerUsage(device card, unsigned *out) { *out = 71000; return 0; }
int nvmlDeviceGetFieldValues(device card, int count, field_value *values) {
  if (count != 1 || values->fieldId != 186) return 2;
  values->nvmlReturn = card == &cards[0] ? 0 : 3;
  values->valueType = 1;
  values->value.ull = 0;
  values->value.ui = 73500;
  return 0;
}
"""
CARDS = [
    {
        "index": 0,
        "name": "NVIDIA Whole",
        "uuid": "GPU-1234",
        "energy": 5000000001000,
        "power_instant": 73500,
        "power": 71000,
    },
    {
        "index": 1,
        "name": "NVIDIA Half",
        "uuid": "GPU-1234",
        "energy": "!NVML: nvmlDeviceGetTotalEnergyConsumption: not supported by this card",
        "power_instant": "!NVML: nvmlDeviceGetFieldValues: not supported by this card",
        "power": 71000,
    },
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: sudo apt-get install -y gcc")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(LIBRARY)
    path = folder / nvml.LIBRARY
    command = [compiler, "-shared", "-fPIC", "-o", str(path), str(folder / "nvml.c")]
    subprocess.run(command, check=True, timeout=60)
    return str(path)


def test_every_card_tells_what_it_knows_and_what_not(library: str) -> None:
    assert nvml.facts(nvml.Library(library)) == {"cards": CARDS}


def test_a_machine_without_the_library_has_no_cards_and_no_error() -> None:
    with pytest.raises(nvml.NvmlError, match="cannot open shared object"):
        nvml.Library("libno-such-library.so.1")


def test_a_library_that_does_not_start_is_an_error_in_words(tmp_path: Path, library: str) -> None:
    broken = LIBRARY.replace("started++; return 0;", "return 18;")
    (tmp_path / "nvml.c").write_text(broken)
    path = tmp_path / "broken.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, tmp_path / "nvml.c"], check=True)
    with pytest.raises(nvml.NvmlError, match="different versions"):
        nvml.Library(str(path))


def test_an_old_driver_without_a_function_says_so(tmp_path: Path, library: str) -> None:
    (tmp_path / "nvml.c").write_text(LIBRARY.replace("nvmlDeviceGetFieldValues", "other"))
    path = tmp_path / "old.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, tmp_path / "nvml.c"], check=True)
    card = (nvml.facts(nvml.Library(str(path))) or {})["cards"][0]
    assert card["power_instant"] == "!NVML: the driver's library has no nvmlDeviceGetFieldValues"
    assert card["power"] == 71000


def test_the_sampler_reads_each_quantity_on_its_own(library: str) -> None:
    channels = [
        {"id": "c0", "path": "nvml:0:energy"},
        {"id": "c1", "path": "nvml:1:energy"},
        {"id": "c2", "path": "nvml:0:power_instant"},
        {"id": "c3", "path": "nvml:7:power"},
    ]
    spec = {"id": "nvml", "kind": "nvml", "interval_s": 0.005, "channels": channels}
    rows: list[tuple[float, str, str]] = []
    stop = threading.Event()
    sensor = Nvml(spec, "/", lambda: nvml.Library(library))
    thread = threading.Thread(
        target=sensor.run, args=(lambda t_s, name, raw: rows.append((t_s, name, raw)), stop)
    )
    thread.start()
    time.sleep(0.2)
    stop.set()
    thread.join(10)
    by_channel = {name: [raw for _, other, raw in rows if other == name] for name in ("c0", "c2")}
    counts = [int(raw) for raw in by_channel["c0"]]
    assert len(counts) > 5
    assert {after - before for before, after in itertools.pairwise(counts)} == {1000}
    assert set(by_channel["c2"]) == {"73500"}
    failures = {(name, raw) for _, name, raw in rows if raw.startswith("!")}
    assert failures == {
        ("c1", "!NVML: nvmlDeviceGetTotalEnergyConsumption: not supported by this card"),
        ("c3", "!NVML: nvmlDeviceGetHandleByIndex_v2: no such card"),
    }
