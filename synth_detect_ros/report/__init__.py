"""Pages and pictures: HTML, plots, overlays, contact sheets."""
