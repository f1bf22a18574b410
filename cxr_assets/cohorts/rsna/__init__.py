"""RSNA Pneumonia Detection Challenge 2018. Format and pitfalls: docs/cohorts/rsna.md."""
