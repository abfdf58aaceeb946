"""What the power sampler costs on this machine: its share of a core, and the latency in pairs.

    python benchmarks/sampler_cost.py [rounds]

Lays out sensor files as a Jetson Orin Nano and an x86 processor have them, on a folder of this
machine, since there may be no sensor here; the sampler reads them at its default rate. Prints the
processor time of a minute of sampling, then `gfbench calibrate --sampler-overhead` on this machine:
latency with the sampler against without, beside without against without.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.experiments.sampler_cost import calibrate_sampler
from harness.power.log import job_power, rail_map_of
from targets.inventory import Target
from targets.power_plans import plan_power

ROOT = Path(__file__).resolve().parent.parent
SAMPLED_S = 60.0
HWMON = "/sys/class/hwmon/hwmon1"
RAPL = "/sys/class/powercap/intel-rapl:0"
ORIN_NANO = {
    f"{HWMON}/name": "ina3221",
    **{f"{HWMON}/in{n}_label": f"RAIL_{n}" for n in (2, 3)},
    f"{HWMON}/in1_label": "VDD_IN",
    **{f"{HWMON}/in{n}_input": "4984" for n in (1, 2, 3)},
    **{f"{HWMON}/curr{n}_input": "960" for n in (1, 2, 3)},
}
X86 = {
    f"{RAPL}/name": "package-0",
    f"{RAPL}/energy_uj": "123456789",
    f"{RAPL}/max_energy_range_uj": "262143328850",
}
SAMPLER = (
    "import json, sys; from workloads.sampler.sampler import run_sampler\n"
    "run_sampler(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3])"
)


def main(rounds: int = 12) -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as folder:
        for name, platform, files in (
            ("Orin Nano, 6 files", "jetson-orin-nano", ORIN_NANO),
            ("x86, 1 counter", "linux-x86", X86),
        ):
            root = Path(folder) / platform
            lay_out(root, files)
            plan = rail_map_of(plan_power(platform, {"files": files}))
            share = cpu_share(job_power(plan), root)
            rate = 1 / (plan.interval_s or 1)
            print(f"{name} at {rate:g} Hz: {share:.3%} of a core", flush=True)
        target = Target(
            name="this machine",
            python=sys.executable,
            workdir=f"{folder}/work",
            platform="jetson-orin-nano",
            sysroot=str(Path(folder) / "jetson-orin-nano"),
            env={"TMPDIR": folder},
        )
        done = calibrate_sampler(target, None, Path(folder), rounds=rounds, seed=1)
        print(f"paired with and without: {done.cost.summary}")


def lay_out(root: Path, files: dict[str, str]) -> None:
    """Write the files below a folder."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")


def cpu_share(power: dict[str, Any], root: Path) -> float:
    """Return which share of one core a minute of sampling takes, its start left out."""
    trace = root / "power.csv"
    process = subprocess.Popen(
        [sys.executable, "-c", SAMPLER, json.dumps(power), str(root), str(trace)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        time.sleep(1.0)
        begin, used = time.monotonic(), cpu_s(process.pid)
        time.sleep(SAMPLED_S)
        return (cpu_s(process.pid) - used) / (time.monotonic() - begin)
    finally:
        process.terminate()
        process.wait()


def cpu_s(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
