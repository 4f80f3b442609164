"""The images of a run as one value, their normalization, and a few chosen of many."""
