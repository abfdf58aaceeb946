"""What is measured: suites, their plans of blocks, and plans that grow."""
