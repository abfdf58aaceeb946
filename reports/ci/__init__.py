"""Outputs of a gate for continuous integration: summary, comment, annotations, JUnit. All pure."""
