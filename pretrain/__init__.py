"""Maximum Entropy Coding pre-training (MEC, NeurIPS 2022)."""

__version__ = "0.1.0"
