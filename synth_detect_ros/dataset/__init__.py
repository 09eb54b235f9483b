"""Background sets, synthetic data sets on disk, and their loading for training."""
