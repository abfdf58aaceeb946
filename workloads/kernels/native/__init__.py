"""Kernel "native": the backward in C, compiled on the board."""
