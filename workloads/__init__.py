"""The payload: everything that runs on a board, and nothing else (Python >= 3.6, stdlib + torch)."""
