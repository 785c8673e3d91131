"""Tracks drawn on their frames, for the eye: contact sheets, one HTML page, videos."""

from transfer.track.pictures.command import main

__all__ = ["main"]
