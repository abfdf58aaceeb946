"""The gate: a question about a run, its evidence, and the verdict."""
