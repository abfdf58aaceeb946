"""The sampler: reads power sensors beside the blocks."""
