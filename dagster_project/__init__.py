"""The graph: thin Dagster definitions over :mod:`cxr_assets`. Anything with an ``if`` about X-rays belongs there."""
