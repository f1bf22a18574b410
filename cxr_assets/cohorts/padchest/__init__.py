"""PadChest (BIMCV). Format and pitfalls: docs/cohorts/padchest.md."""
