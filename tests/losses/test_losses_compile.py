"""The losses under torch.compile: those made of ops are one graph, the others break it and stay right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from segkit.losses import DeepSupervision, Loss, create_loss

pytestmark = pytest.mark.slow

LOGITS = torch.randn((2, 5, 16, 16), generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 5, (2, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
TARGET[0, :3] = 255


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def same_gradients(loss: Loss, *, fullgraph: bool) -> None:
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=fullgraph)
    plain, traced = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    loss(plain, TARGET).backward()
    compiled(traced, TARGET).backward()
    torch.testing.assert_close(traced.grad, plain.grad)


@pytest.mark.parametrize("spec", ["focal", "lovasz", "cross_entropy + jaccard + focal_tversky + matthews + 0.5*focal"])
def test_losses_of_ops_are_one_graph(spec: str) -> None:
    same_gradients(create_loss(spec, class_weights=[1.0, 2.0, 0.5, 1.0, 1.0]), fullgraph=True)


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace the builtin:UserWarning")
# After a break torch looks at the gradients of tensors that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("spec", ["soft_bce", "cldice", "boundary", "cross_entropy"])
def test_others_compile_in_parts(spec: str) -> None:
    options = {"top_k": 0.5} if spec == "cross_entropy" else {}
    same_gradients(create_loss(spec, **options), fullgraph=False)


def test_deep_supervision_compiles() -> None:
    same_gradients(DeepSupervision(create_loss("cross_entropy + dice")), fullgraph=True)
