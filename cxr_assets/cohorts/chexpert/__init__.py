"""CheXpert and CheXpert Plus (Stanford). Format and pitfalls: docs/cohorts/chexpert.md."""
