"""Readers of CAD files, one a format: what a file says is honoured, or refused by its line."""
