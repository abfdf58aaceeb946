"""Kernel "cuda": passes in CUDA C, compiled by NVRTC on the board."""
