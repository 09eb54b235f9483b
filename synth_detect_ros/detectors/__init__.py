"""Detectors: networks that train on images with boxes and return `Detections`."""
