"""Reaching a machine: this one or another over SSH."""
