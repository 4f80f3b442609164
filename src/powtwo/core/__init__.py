"""What every stage shares: files written whole, parameters read, a stage's start and end."""
