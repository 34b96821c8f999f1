"""Fine-tuning on little labelled data: arms x numbers of episodes x seeds, everything else equal.

<storage>/<run name>/
    settings.yaml               of the study
    labelled/n25-s0/            the labelled episodes of a size and seed, a dataset of their own, the same for every arm
    trials/pretrained-n25-s0/   a cell: a run like any other, see am_ray.pretraining
    panels/                     pictures of some episodes
    results.json                every cell's evaluation, what `am-ray compare` reads
"""

from __future__ import annotations

from am_ray.finetuning.cells import Cell, plan_cells
from am_ray.finetuning.study import FinetuneResult, Study, finetune, prepare

__all__ = ["Cell", "FinetuneResult", "Study", "finetune", "plan_cells", "prepare"]
