"""CXR Assets: fair chest-X-ray classifiers trained with diffusion-synthesised images.

A plain Python library; orchestration lives in ``dagster_project`` and is never imported from here.
"""

__version__ = "0.1.0"
