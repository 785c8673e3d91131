"""Classification transfer: kNN, linear probe, semi-supervised fine-tuning."""
