"""``cxr score``: anybody's predictions read, scored and told on one page, without a data root.

Figures come from :mod:`cxr_assets.evaluation`; nothing here knows a project, an asset or a formula of its own.
"""

from cxr_assets.scoring.score import Scored, score
from cxr_assets.scoring.write import write_scored

__all__ = ["Scored", "score", "write_scored"]
