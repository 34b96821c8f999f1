"""bfloat16 changes speed and the last digits, not what is computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from am_ray.models.precision import Precision, is_emulated, network_precision
from am_ray.settings import AlgorithmSettings, ModelSettings
from am_ray.types import DataSpec
from tests.models.conftest import make_block, sample
from tests.models.test_settings_matter import model_of

MODEL = ModelSettings(width=64, head_width=64, image_channels=(8, 8), proposal="learned")


def loss_and_gradient(spec: DataSpec, method: str, precision: Precision) -> tuple[Tensor, Tensor]:
    model = model_of(spec, AlgorithmSettings(method=method, model=MODEL))  # type: ignore[arg-type]
    for parameter in model.parameters():  # nearer to what training has than model_of's spread
        parameter.data *= 0.3
    with network_precision(precision, torch.device("cpu")):
        loss = model.loss(sample(make_block(spec), spec), generator=torch.Generator().manual_seed(0)).loss
    loss.backward()
    gradients = [p.grad for p in model.trainable_parameters()]
    assert all(g is not None and g.dtype == torch.float32 for g in gradients)
    return loss.detach(), torch.cat([g.flatten() for g in gradients if g is not None])


@pytest.mark.parametrize("method", ["actionable_models", "behavior_cloning"])
@pytest.mark.parametrize("kind", ["state_spec", "image_spec"])
def test_loss_and_gradient_agree(kind: str, method: str, request: pytest.FixtureRequest) -> None:
    spec = request.getfixturevalue(kind)
    loss, gradient = loss_and_gradient(spec, method, "float32")
    half_loss, half_gradient = loss_and_gradient(spec, method, "bfloat16")
    assert half_loss.dtype == torch.float32
    assert half_loss != loss  # it did compute otherwise
    assert half_loss.item() == pytest.approx(loss.item(), rel=0.01)
    assert cosine_similarity(gradient, half_gradient, dim=0) > 0.99


@pytest.mark.parametrize("has_it", [True, False])
def test_a_processor_without_bfloat16_is_told_apart(has_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_it)
    assert is_emulated("bfloat16", torch.device("cpu")) is not has_it
    assert not is_emulated("float32", torch.device("cpu"))
    assert not is_emulated("bfloat16", torch.device("cuda"))
