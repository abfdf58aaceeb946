"""From the raw result folder to numbers, verdicts and pages."""
