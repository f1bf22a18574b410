"""Procedural chest-radiograph phantom: population, pixels, masks, boxes and reports, all deterministic by seed.

Numerical code only; nothing here may import a learning framework or an orchestrator.
"""
