"""Strata, plans and synthetic images, with the provenance of each."""
