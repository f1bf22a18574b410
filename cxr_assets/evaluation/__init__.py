"""Fairness, image quality and what the oracle sees."""
