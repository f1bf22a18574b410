"""VinDr-CXR, from PhysioNet or as the VinBigData challenge. Format and pitfalls: docs/cohorts/vindr.md."""
