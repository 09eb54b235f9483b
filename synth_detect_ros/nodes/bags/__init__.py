"""Bags of ROS 1 and ROS 2, read as far as they are whole; imports nothing of ROS."""
