"""Trained detectors at work: runtimes, and fast paths that find what the plain one finds."""
