"""Settings: frozen, typed, each default with its source ("paper", another paper, or "ours" and why).

`read_settings` (see ``settings_reader``) builds them from plain mappings and refuses unknown keys, wrong
types and values out of range.
"""

from am_ray.settings.algorithm import (
    AlgorithmSettings,
    CloningAct,
    CloningSettings,
    ModelSettings,
    OptimizationSettings,
    RelabelSettings,
)
from am_ray.settings.checked import (
    Checked,
    bounded,
)
from am_ray.settings.critic import Acting, CemSettings, CriticLossSettings
from am_ray.settings.runs import (
    IngestSettings,
    PretrainSettings,
    ResourceSettings,
    TaskSettings,
    TrainingSettings,
)

__all__ = [
    "Acting",
    "AlgorithmSettings",
    "CemSettings",
    "Checked",
    "CloningAct",
    "CloningSettings",
    "CriticLossSettings",
    "IngestSettings",
    "ModelSettings",
    "OptimizationSettings",
    "PretrainSettings",
    "RelabelSettings",
    "ResourceSettings",
    "TaskSettings",
    "TrainingSettings",
    "bounded",
]
