"""The sensors of a machine: what they are, where they are read, and what they say."""
