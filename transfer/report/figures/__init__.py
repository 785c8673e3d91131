"""Figures of the results: from cells and pre-training curves to sheets, and to files of stable bytes."""
