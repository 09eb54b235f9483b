"""CAD models for those who have none: a box from photographs of its faces, simple solids."""
