"""Trained models made ready for the machine that runs them."""
