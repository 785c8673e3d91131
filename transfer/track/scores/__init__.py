"""Scores of tracks, by each benchmark's own code or measured against it."""
