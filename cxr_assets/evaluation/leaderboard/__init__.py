"""Generators side by side: what each method × seed is worth on one cohort, and which preset leads beyond chance of seed.

Figures of single methods live here; whether images are fit for use at all is decided in ``synthesis``.
"""
