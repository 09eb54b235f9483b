"""CAD models: files, surfaces, levels of detail, and solids of the package's own."""
