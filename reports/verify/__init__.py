"""Checking a finished run: its files, and every number of its page."""
