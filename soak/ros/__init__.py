"""Rows of the matrix that need a ROS graph."""
