"""Where images come from: mnist5k, CIFAR-10, class folders; a folder or an archive."""
