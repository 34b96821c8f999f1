"""States that list objects: one small network for every slot, then the maximum over the slots (PointNet, Qi et al. 2017; ours).

Which object a goal is about follows from what differs in its slot; a flat network has to learn that anew for each slot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from am_ray.arrays import Float
from am_ray.models.layers import mlp
from am_ray.types import SettingsError


class EntityPooling(nn.Module):
    """The views (s, g, ...) of a state, ``(b, s, v)``, to features ``(b, size)`` in which the slots are pooled.

    Args:
        state_dim: s; the slots fill it from ``first`` to its end.
        num_views: v.
        slots: The first entry of the first slot, and the entries of each.
        width: Of the network and of the pooled features.

    Raises:
        SettingsError: The slots do not fill the state.
    """

    own: Tensor

    def __init__(self, state_dim: int, num_views: int, slots: tuple[int, ...], *, width: int, layer_norm: bool) -> None:
        super().__init__()
        self.first, self.entries = slots
        self.num_slots = (state_dim - self.first) // self.entries
        if self.num_slots < 1 or self.first + self.num_slots * self.entries != state_dim:
            raise SettingsError(
                f"model.entity_slots: got {list(slots)} for a state of {state_dim} entries; expected slots that fill it from "
                f"entry {self.first} to its end. Correct the two numbers, or leave them out."
            )
        shared = num_views * self.first
        self.network = mlp([num_views * self.entries + shared + self.num_slots, width, width], layer_norm=layer_norm)
        self.register_buffer("own", torch.eye(self.num_slots))
        self.size = shared + width

    def forward(self, views: Float[Tensor, "b s v"]) -> Float[Tensor, "b f"]:
        batch = len(views)
        shared = views[:, : self.first].flatten(1)
        slots = views[:, self.first :].reshape(batch, self.num_slots, -1)
        # A slot sees the rest of the state, and which slot it is: kinds of objects are grasped differently.
        rest = shared.unsqueeze(1).expand(-1, self.num_slots, -1)
        pooled = self.network(torch.cat([slots, rest, self.own.expand(batch, -1, -1)], dim=2)).amax(dim=1)
        return torch.cat([shared, pooled], dim=1)
