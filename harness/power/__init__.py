"""Power as the controller sees it: what to sample, the traces, and meters beside the board."""
