"""A one-stage detector without anchors: every cell of a pyramid says what lies around it."""
