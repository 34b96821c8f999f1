"""Under which other conditions a shipped policy is evaluated than those of its data: tables of docs/RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLAY_KINDS = ("box", "banana", "milk", "can", "apple")
NEW_KINDS = ("cube", "sponge", "stick", "tee")  # in no data of the study
# Of each kind another first colour than in the data.
COLORS = {
    "box": (0.15, 0.55, 0.25),
    "banana": (0.85, 0.45, 0.75),
    "milk": (0.95, 0.6, 0.2),
    "can": (0.2, 0.3, 0.8),
    "apple": (0.5, 0.75, 0.2),
}


@dataclass(frozen=True)
class Condition:
    """One evaluation.

    Attributes:
        name: Of its file.
        label: Of its line in the table.
        env_kwargs: What is different from the world of the data; `am_ray.envs.goal_env.TrayEnv`.
    """

    name: str
    label: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """Those of a checkpoint.

    Attributes:
        table: Its name, in docs/RESULTS.md and docs/results/.
        checkpoint: In ``checkpoints/``.
        conditions: The first one is that of the data.
    """

    table: str
    checkpoint: str
    conditions: tuple[Condition, ...]

    def file(self, condition: Condition) -> str:
        """What its evaluation writes, in the folder of the runs."""
        return f"conditions/{self.checkpoint}_{condition.name}.json"


AS_IN_DATA = Condition("as_in_data", "as in the data, five objects")
STATE = Conditions(
    "generalisation_state",
    "tray_play_state",
    (
        AS_IN_DATA,
        *[Condition(f"objects_{n}", f"{n} objects" if n > 1 else "1 object", {"num_objects": n}) for n in (4, 3, 2, 1)],
        # The state has a slot for each kind: the new ones take those of others.
        Condition("new_kinds", "four new kinds", {"kinds": [*NEW_KINDS, "apple"], "targets": NEW_KINDS}),
    ),
)
IMAGE = Conditions(
    "generalisation_image",
    "tray_play_image",
    (
        AS_IN_DATA,
        Condition("objects_1", "1 object", {"num_objects": 1}),
        Condition("objects_3", "3 objects", {"num_objects": 3}),
        Condition(
            "objects_7", "7 objects, two of new kinds", {"kinds": [*PLAY_KINDS, "cube", "stick"], "targets": PLAY_KINDS}
        ),
        Condition("new_kinds", "four new kinds", {"kinds": [*NEW_KINDS, "apple"], "targets": NEW_KINDS}),
        Condition("colors", "known kinds in new colours", {"colors": COLORS}),
        Condition(
            "goal_light", "goal image in another light", {"goal_light": {"direction": [-0.6, 0.5, 1.4], "ambient": 0.4}}
        ),
        Condition("goal_noise", "noise on the goal image, 8 of 255 grey levels", {"goal_noise": 8.0}),
    ),
)
CONDITIONS = (STATE, IMAGE)
