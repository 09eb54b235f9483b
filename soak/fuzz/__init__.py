"""Files that nobody should have written, over every public reader of the package."""
