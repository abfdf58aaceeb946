"""SSH: connections, gateways, host keys, and what went wrong in plain text."""
