"""Grids of trainings, compared on real images: what is in them, running them, showing them."""
