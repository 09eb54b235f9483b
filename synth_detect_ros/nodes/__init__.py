"""The ROS 2 nodes: a callback converts in, calls the library, converts out, publishes."""
