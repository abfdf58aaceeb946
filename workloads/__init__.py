"""The payload: all of it runs on a board, and nothing else does (Python >= 3.6, torch)."""
