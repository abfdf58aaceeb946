"""The commands, a module for each family; each has an app that ``harness.cli`` gathers."""
