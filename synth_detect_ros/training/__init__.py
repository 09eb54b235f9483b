"""Fit a detector: the loop, its data, optimiser, validation and log."""
