"""What README and docs show of files, written anew by `inv docs`."""
