"""The payload's commands: probe, run, follow, stop, block, sample.

probe [SYSROOT] [PKG] [KERNELS] [IMPORT_S] [COMPILE_S]   one record with the machine's facts; PKG
                        is jtop, pyrapl, pynvml or "-", KERNELS are names with commas, each tried
                        on every device; importing torch may take IMPORT_S, trying COMPILE_S
run JOBDIR              start the job's runner, detached; one record says how that went
follow JOBDIR OFFSET    the journal from this byte on, as records, until the runner has ended
stop JOBDIR             end the runner after killing its block
block JOBDIR ORDER      measure one block of the job in this process (the runner calls this)
sample JOBDIR STRETCH   sample the job's power sensors at STRETCH times their intervals (the
                        runner calls this)

Standard output carries records only (see spec/messages.py); everything else goes to standard error.
"""

import os
import sys
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from workloads.machine.folders import keep_to_work_folder
from workloads.runner.handover import VARIABLE, hand_over
from workloads.runner.protocol import RecordWriter
from workloads.spec.messages import dump

PACKAGES = ("-", "jtop", "pyrapl", "pynvml")  # that read power; a probe asks one if told to
WRONG_USAGE = 64


class Command(NamedTuple):
    """What one command does with its arguments, and how many it may have."""

    run: Callable[[List[str], RecordWriter], None]
    counts: Tuple[int, ...]


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command and return its exit status; 64 for wrong usage."""
    if arguments is None:
        arguments = sys.argv[1:]
    sys.argv[0] = os.path.abspath(sys.argv[0])
    keep_to_work_folder()
    writer = RecordWriter()
    command = COMMANDS.get(arguments[0]) if arguments else None
    rest = arguments[1:]
    if command is None or len(rest) not in command.counts:
        return _wrong_usage()
    if arguments[0] == "probe" and not set(rest[1:2]) <= set(PACKAGES):
        return _wrong_usage()
    try:
        command.run(rest, writer)
    except BrokenPipeError:  # the controller is gone; the runner goes on
        return 0
    return 0


def _wrong_usage() -> int:
    sys.stderr.write(__doc__ or "")
    return WRONG_USAGE


def _probe(rest: List[str], writer: RecordWriter) -> None:
    from workloads.probe import DEADLINES, Deadlines, probe

    defaults = ["/", "-", "", *map(str, DEADLINES)]
    sysroot, package, kernels, import_s, compile_s = rest + defaults[len(rest) :]
    names = [name for name in kernels.split(",") if name]
    deadlines = Deadlines(float(import_s), float(compile_s))
    writer.write(probe(sysroot, None if package == "-" else package, names, deadlines))


def _run(rest: List[str], writer: RecordWriter) -> None:
    from workloads.runner.launch import launch

    writer.write(launch(rest[0]))


def _follow(rest: List[str], writer: RecordWriter) -> None:
    from workloads.runner.follow import follow

    follow(rest[0], int(rest[1]), writer.write)


def _stop(rest: List[str], writer: RecordWriter) -> None:
    from workloads.runner.launch import stop

    writer.write({"type": "stop", "stopped": stop(rest[0])})


def _block(rest: List[str], writer: RecordWriter) -> None:
    address = os.environ.pop(VARIABLE, "")  # before any kernel is loaded
    from workloads.runner.jobs import JobFolder
    from workloads.runner.runner import measured

    folder = JobFolder(rest[0])
    job = folder.read_job()
    block = next(block for block in job.blocks if block.order == int(rest[1]))
    result = measured(job, block)
    if address:
        hand_over(result, address)
        return
    with open(folder.result, "w") as file:  # called by hand, or by the runner of an older payload
        file.write(dump(result))


def _sample(rest: List[str], writer: RecordWriter) -> None:
    from workloads.runner.jobs import JobFolder
    from workloads.sampler.sampler import run_sampler

    folder = JobFolder(rest[0])
    job = folder.read_job()
    run_sampler(job.power, job.sysroot, folder.power, float(rest[1]), job.threads)


COMMANDS: Dict[str, Command] = {
    "probe": Command(_probe, (0, 1, 2, 3, 4, 5)),
    "run": Command(_run, (1,)),
    "follow": Command(_follow, (2,)),
    "stop": Command(_stop, (1,)),
    "block": Command(_block, (2,)),
    "sample": Command(_sample, (2,)),
}

if __name__ == "__main__":
    sys.exit(main())
