"""The result folder: its records, and how it is written and read."""
