"""The payload's commands: probe, run, follow, stop, block, sample.

probe [SYSROOT] [PKG] [KERNELS]   one record with the machine's facts; PKG is jtop, pyrapl,
                        pynvml or "-", KERNELS are names with commas, each tried on every device
run JOBDIR              start the job's runner, detached; one record says how that went
follow JOBDIR OFFSET    the journal from this byte on, as records, until the runner has ended
stop JOBDIR             end the runner after killing its block
block JOBDIR ORDER      measure one block of the job in this process (the runner calls this)
sample JOBDIR STRETCH   sample the job's power sensors, at STRETCH times their intervals (the
                        runner calls this)

Standard output carries records only (see messages.py); everything else goes to standard error.
"""

import os
import sys
from typing import List, Optional

from workloads.handover import VARIABLE, hand_over
from workloads.messages import dump
from workloads.protocol import RecordWriter

PACKAGES = ("-", "jtop", "pyrapl", "pynvml")  # ways to read power that a probe asks when told to


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command and return its exit status; 64 for wrong usage."""
    if arguments is None:
        arguments = sys.argv[1:]
    sys.argv[0] = os.path.abspath(sys.argv[0])
    writer = RecordWriter()
    commands = {
        "probe": _probe,
        "run": _run,
        "follow": _follow,
        "stop": _stop,
        "block": _block,
        "sample": _sample,
    }
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    wanted = {"probe": (0, 1, 2, 3), "follow": (2,), "block": (2,), "sample": (2,)}.get(name, (1,))
    known = name != "probe" or set(rest[1:2]) <= set(PACKAGES)
    if name not in commands or len(rest) not in wanted or not known:
        sys.stderr.write(__doc__ or "")
        return 64
    try:
        commands[name](rest, writer)
    except BrokenPipeError:  # the controller is gone; the runner goes on
        return 0
    return 0


def _probe(rest: List[str], writer: RecordWriter) -> None:
    from workloads.probe import probe

    sysroot, package, kernels = rest + ["/", "-", ""][len(rest) :]
    names = [name for name in kernels.split(",") if name]
    writer.write(probe(sysroot, None if package == "-" else package, names))


def _run(rest: List[str], writer: RecordWriter) -> None:
    from workloads.launch import launch

    writer.write(launch(rest[0]))


def _follow(rest: List[str], writer: RecordWriter) -> None:
    from workloads.follow import follow

    follow(rest[0], int(rest[1]), writer.write)


def _stop(rest: List[str], writer: RecordWriter) -> None:
    from workloads.launch import stop

    writer.write({"type": "stop", "stopped": stop(rest[0])})


def _block(rest: List[str], writer: RecordWriter) -> None:
    address = os.environ.pop(VARIABLE, "")  # before any kernel is loaded
    from workloads.jobs import JobFolder
    from workloads.runner import measured

    folder = JobFolder(rest[0])
    job = folder.read_job()
    result = measured(job, next(block for block in job.blocks if block.order == int(rest[1])))
    if address:
        hand_over(result, address)
        return
    with open(folder.result, "w") as file:  # called by hand, or by the runner of an older payload
        file.write(dump(result))


def _sample(rest: List[str], writer: RecordWriter) -> None:
    from workloads.jobs import JobFolder
    from workloads.sampling import run_sampler

    folder = JobFolder(rest[0])
    job = folder.read_job()
    run_sampler(job.power, job.sysroot, folder.power, float(rest[1]), job.threads)


if __name__ == "__main__":
    sys.exit(main())
