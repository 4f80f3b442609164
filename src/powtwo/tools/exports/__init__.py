"""Every export run against the network it came from."""
