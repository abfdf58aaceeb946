"""The machine as the board itself sees it: processors, state, locks, programs."""
