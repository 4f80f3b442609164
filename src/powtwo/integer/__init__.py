"""The arithmetic that defines what is right; the integer network, its file, its shapes."""
