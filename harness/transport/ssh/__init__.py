"""SSH: connections, gateways, host keys, and what went wrong in words."""
