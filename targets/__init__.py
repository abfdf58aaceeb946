"""What is known of machines: inventory, platforms, and parsers of what boards print."""
