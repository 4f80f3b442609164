"""The training loop: augmentation, schedules, devices, checkpoints, several processes."""
