"""The float network: its architecture, its layers after folding, its file."""
