"""Trajectory datasets on disk (LeRobot v3.0 layout) and the two ways into training."""
