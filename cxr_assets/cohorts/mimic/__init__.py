"""MIMIC-CXR-JPG joined with MIMIC-IV (PhysioNet). Format and pitfalls: docs/cohorts/mimic.md."""
