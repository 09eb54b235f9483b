"""CAD models to images: meshes, renderers and composition over backgrounds."""
