"""Kernel "torch": the backward composed of torch operations."""
