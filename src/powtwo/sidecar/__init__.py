"""What stands around a stage and changes no byte: the whole file's check, the log."""
