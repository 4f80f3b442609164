"""C99 of an integer network."""
