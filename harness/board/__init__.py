"""One board: what is done on it over a connection, and what it needs for that."""
