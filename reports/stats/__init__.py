"""Statistics: estimates and intervals, checks, pooling, sequential decisions, change points."""
