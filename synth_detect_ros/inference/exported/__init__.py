"""Trained detectors of one stage as models that other programs run without this package."""
