"""Experiments that are more than one run: noise floor, sampler cost, revisions, bisection."""
