"""Readers of images, labels and videos, and the bundled set."""
