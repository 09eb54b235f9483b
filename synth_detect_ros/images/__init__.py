"""Image files as bytes, before they are decoded."""
