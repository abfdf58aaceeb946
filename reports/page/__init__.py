"""The HTML report: one self-contained page from result folders."""
