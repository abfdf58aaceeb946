"""What travels to a board: the packed workloads, users' kernels, and both as of git revisions."""
