"""The sampler's process as the runner uses it: started, stopped, and its processor time read."""

import os
import subprocess
import sys
from typing import Any, Optional

from workloads.runner.jobs import JobFolder
from workloads.spec.messages import Job

END_S = 10.0


class SamplerProcess:
    """The process that samples power beside the blocks; never started for a job without sensors."""

    def __init__(self, folder: JobFolder, job: Job) -> None:
        """Remember the job; nothing is started yet."""
        self._folder = folder
        self._wanted = bool(job.power.get("sensors"))
        self._stretch = 0.0
        self._child: Optional[Any] = None

    def use(self, stretch: float) -> None:
        """Sample from now on at ``stretch`` times the sensors' intervals; 0 ends sampling."""
        if not self._wanted or (stretch == self._stretch and self._alive()):
            return
        self.stop()
        self._stretch = stretch
        if stretch > 0:
            argv = [sys.executable, sys.argv[0], "sample", self._folder.path, repr(stretch)]
            self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        """End the process and wait for its last reading to be on the disk."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def cpu_s(self) -> Optional[float]:
        """Return the processor time that it and its children have used so far; None if unknown."""
        if self._child is None:
            return None
        try:
            with open("/proc/%d/stat" % self._child.pid, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return None
        ticks = sum(int(field) for field in fields[11:15])  # user, system, both of children
        return float(ticks) / os.sysconf("SC_CLK_TCK")

    def _alive(self) -> bool:
        return self._child is not None and self._child.poll() is None
