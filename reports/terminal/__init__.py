"""Results in the terminal: the final table, verdicts, sparklines."""
