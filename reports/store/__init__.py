"""One place for the results of many controllers, and SQL over them."""
