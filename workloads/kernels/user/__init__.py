"""Kernels of users: Python modules and C files that travel with the payload."""
