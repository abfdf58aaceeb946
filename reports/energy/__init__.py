"""From readings of power to joules per iteration, with their intervals."""
