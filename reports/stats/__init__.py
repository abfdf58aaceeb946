"""Statistics: intervals, checks, pooling, sequential decisions, change points."""
