"""Score detections on labelled images."""
