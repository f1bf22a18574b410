"""Anybody's table, and folders of DICOM files, curated by a mapping that its owner writes (docs/cohorts/table.md)."""
