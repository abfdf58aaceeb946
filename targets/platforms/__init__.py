"""One module per platform family, and the table of them."""
