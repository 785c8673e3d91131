"""Tracking: by features of the frozen backbone alone (frozen), and by trackers of mmtrack (mm)."""
