"""The runner: does a job's blocks one by one, each in a process of its own."""
