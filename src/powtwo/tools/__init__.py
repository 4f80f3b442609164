"""What no stage runs: presets, publishing, generated docs, exports verified."""
