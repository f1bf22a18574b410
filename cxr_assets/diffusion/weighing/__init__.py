"""How much each training example counts, by its patient's groups: weights of the loss, and how often a row is visited.

Knows arrays of group indices and losses; knows nothing of networks, processes or where groups come from.
"""

from cxr_assets.diffusion.weighing.config import (
    FairDiffusionWeighing,
    GroupDroWeighing,
    InverseFrequencyWeighing,
    TemperedSampling,
    UniformWeighing,
    Weighing,
)
from cxr_assets.diffusion.weighing.controllers import (
    GroupDroWeights,
    InverseFrequencyWeights,
    UniformWeights,
    WeightController,
    make_controller,
)
from cxr_assets.diffusion.weighing.fair import FairDiffusionWeights
from cxr_assets.diffusion.weighing.groups import Groups
from cxr_assets.diffusion.weighing.sampling import tempered_order

__all__ = [
    "FairDiffusionWeighing",
    "FairDiffusionWeights",
    "GroupDroWeighing",
    "GroupDroWeights",
    "Groups",
    "InverseFrequencyWeighing",
    "InverseFrequencyWeights",
    "TemperedSampling",
    "UniformWeighing",
    "UniformWeights",
    "Weighing",
    "WeightController",
    "make_controller",
    "tempered_order",
]
