"""Which policies are trained from images: rows of a table of docs/RESULTS.md."""

from __future__ import annotations

from dataclasses import dataclass

IMAGES_TABLE = "tray_play_images"


@dataclass(frozen=True)
class ImageRun:
    """One training, by `study.gpu_training`, and one evaluation.

    Attributes:
        label: Of its line in the table.
        name: Of its folder.
        config: In ``tune_configs/study/``.
        images_only: Whether the pose and opening of the gripper are left out.
        changes: Of settings.
    """

    label: str
    name: str
    config: str = "tray_play_images"
    images_only: bool = False
    changes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Of its log and its checkpoint, in the folder of the runs."""
        return f"images/{self.name}"

    @property
    def evaluation(self) -> str:
        """What its evaluation writes, in the folder of the runs."""
        return f"images/{self.name}.json"


_CEM = "critic.acting=cem"
IMAGE_RUNS = (
    ImageRun("Actionable Models", "actionable_models_likely"),
    ImageRun("acting by CEM", "actionable_models", changes=(_CEM,)),
    ImageRun("without the auxiliary cloning loss, by CEM", "no_auxiliary", changes=(_CEM, "critic.cloning_weight=0")),
    ImageRun("behaviour cloning (GCBC)", "behavior_cloning", "tray_play_images_cloning"),
    ImageRun(
        "without the gripper's pose, by CEM",
        "actionable_models_images_only",
        images_only=True,
        changes=(_CEM, "model.mirror_state=[]"),
    ),
)
