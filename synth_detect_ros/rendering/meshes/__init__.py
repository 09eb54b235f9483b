"""Meshes of CAD models: files, surfaces, levels of detail, and a cache of them on disk."""
