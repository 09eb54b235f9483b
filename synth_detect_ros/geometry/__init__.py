"""Pixels, cameras, poses and boxes."""
