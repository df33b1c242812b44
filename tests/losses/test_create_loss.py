"""Losses by name: the grammar, the options, the registry, and the common checks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from segkit.errors import InputError, UnknownNameError
from segkit.losses import (
    CrossEntropy,
    Dice,
    Loss,
    _check,
    _create,
    check_loss,
    create_loss,
    cross_entropy,
    dice_loss,
    list_losses,
    register_loss,
)

LOGITS = torch.randn((2, 3, 5, 4), generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 3, (2, 5, 4), generator=torch.Generator().manual_seed(1))
TARGET[0, :2] = 255


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of one's own, holding ours."""
    own: _create.Registry[type[Loss]] = _create.Registry("loss")
    for name in list_losses():
        own.register(name)(_create.LOSSES[name])
    monkeypatch.setattr(_create, "LOSSES", own)
    monkeypatch.setattr(_check, "LOSSES", own)


def test_single_names_give_the_thin_modules() -> None:
    loss = create_loss("cross_entropy", task="multiclass", ignore_index=255, class_weights=[1, 2, 3])
    assert isinstance(loss, CrossEntropy)
    torch.testing.assert_close(loss(LOGITS, TARGET), cross_entropy(LOGITS, TARGET, class_weights=[1, 2, 3]))
    assert isinstance(create_loss(" dice "), Dice)
    torch.testing.assert_close(create_loss("dice")(LOGITS, TARGET), dice_loss(LOGITS, TARGET))


NUMBERS = st.sampled_from(["", "0.5*", "2 *", ".25*", "1.*", "1e-3*", "2E+1 * ", "0*"])


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(["cross_entropy", "dice"])), min_size=1, max_size=4))
@example([("1e-3*", "dice"), ("1e+1*", "dice")])
def test_a_sum_is_the_weighted_sum_of_its_terms(terms: list[tuple[str, str]]) -> None:
    spec = " + ".join(number + name for number, name in terms)
    functions: dict[str, Any] = {"cross_entropy": cross_entropy, "dice": dice_loss}
    expected = sum(float(number.rstrip(" *") or 1) * functions[name](LOGITS, TARGET).double() for number, name in terms)
    for written in (spec, spec.replace(" ", ""), f"  {spec}\t"):
        loss = create_loss(written)
        assert isinstance(loss, Loss)
        assert (loss.task, loss.ignore_index) == ("multiclass", 255)
        assert float(loss(LOGITS, TARGET)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("spec", "place", "expected"),
    [
        ("", 1, "a name"),
        ("cross_entropy +", 16, "a name"),
        ("cross_entropy + 0.5dice", 17, "a name"),
        ("0.5", 1, "a name"),
        ("dice dice", 6, "`\\+`"),
        ("dice - dice", 6, "`\\+`"),
        ("dice*2", 5, "`\\+`"),
        ("-1*dice", 1, "a name"),
        ("2*(dice)", 1, "a name"),
        ("dice()", 5, "`\\+`"),
        ("dice++dice", 6, "a name"),
        ("1e999*dice", 1, "a finite number"),
        ("nan*dice", 4, "`\\+`"),
        ("0x2*dice", 1, "a name"),
        ("dice\n", 5, "`\\+`"),
    ],
)
def test_errors_point_to_the_place(spec: str, place: int, expected: str) -> None:
    with pytest.raises(InputError, match=rf"expected {expected}.* at character {place},") as caught:
        create_loss(spec)
    assert str(caught.value).endswith(" " * (place - 1) + "^")


@given(st.text(alphabet="dice+*0.5e- ()_\n", max_size=12))
def test_no_text_does_anything_but_parse_or_raise(spec: str) -> None:
    try:
        loss = create_loss(spec)
    except InputError:
        return
    assert isinstance(loss, Loss)


def test_unknown_names_and_options_get_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cross_entropy'"):
        create_loss("cros_entropy + dice")
    with pytest.raises(UnknownNameError, match="did you mean 'label_smoothing'"):
        create_loss("cross_entropy + dice", label_smothing=0.1)
    with pytest.raises(UnknownNameError, match="takes no option 'smooth'"):
        create_loss("cross_entropy", smooth=1.0)
    with pytest.raises(InputError, match="text such as"):
        create_loss(None)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="`task`"):
        create_loss("dice", task="multi")  # type: ignore[arg-type]


def test_options_go_to_the_terms_that_take_them() -> None:
    loss = create_loss(
        "cross_entropy + 0.5*dice", label_smoothing=0.2, smooth=0.0, absent="skip", class_weights=[1.0, 2.0, 0.5]
    )
    expected = cross_entropy(LOGITS, TARGET, label_smoothing=0.2, class_weights=[1.0, 2.0, 0.5]) + 0.5 * dice_loss(
        LOGITS, TARGET, smooth=0.0, class_weights=[1.0, 2.0, 0.5]
    )
    torch.testing.assert_close(loss(LOGITS, TARGET), expected)
    assert "1*cross_entropy + 0.5*dice" in repr(loss)


@pytest.mark.parametrize("spec", ["cross_entropy + dice", "2*dice", "dice + 0.5*cross_entropy + dice"])
def test_sums_pass_the_common_checks(spec: str) -> None:
    check_loss(lambda **options: create_loss(spec, **options))


def test_a_sum_reads_the_logits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[bool, bool]] = []
    real = _create.compute_sums

    def counted(logits: Tensor, target: Tensor, wanted: Any, **options: Any) -> Any:
        calls.append((wanted.cross_entropy, wanted.regions))
        return real(logits, target, wanted, **options)

    monkeypatch.setattr(_create, "compute_sums", counted)
    create_loss("cross_entropy + dice")(LOGITS, TARGET)
    assert calls == [(True, True)]


class Squared(Loss):
    """A loss of someone else's: the mean squared distance of the true class's probability from 1."""

    def __init__(self, *, task: Any = "multiclass", ignore_index: int = 255, power: float = 2.0) -> None:
        super().__init__(task=task, ignore_index=ignore_index)
        self.power = power

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = target != self.ignore_index
        labels = target.long().masked_fill(~valid, 0)
        clean = torch.where(valid[:, None], logits.float(), 0.0)
        missing = 1 - clean.softmax(1).gather(1, labels[:, None])[:, 0]
        return (missing**self.power * valid).sum() / valid.sum().clamp(min=1)


@pytest.mark.usefixtures("registry")
def test_a_third_party_loss_joins_sums_and_is_checked() -> None:
    register_loss("squared")(Squared)
    assert list_losses("sq*") == ["squared"]
    check_loss("squared", tasks=["multiclass"])
    loss = create_loss("squared + 2*dice", power=1.0, smooth=0.0)
    expected = Squared(power=1.0)(LOGITS, TARGET) + 2 * dice_loss(LOGITS, TARGET, smooth=0.0)
    torch.testing.assert_close(loss(LOGITS, TARGET), expected)
    with pytest.raises(InputError, match="registered already"):
        register_loss("dice")(Squared)
    with pytest.raises(InputError, match="letters, digits and underscores"):
        register_loss("a+b")


class Broken(Squared):
    """Breaks the contract in the way that it is told to."""

    how = ""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = target != self.ignore_index
        right = super().forward(logits, target)
        if self.how == "mean over all pixels":
            return right * valid.sum() / valid.numel()
        if self.how == "nan where all is ignored":
            return right / valid.any()
        if self.how == "not a scalar":
            return right[None]
        if self.how == "overflows in half":
            return right + 0 * (logits * logits).sum()
        if self.how == "half sums":
            return right.to(logits.dtype)
        if self.how == "other bits":
            return right + 1e-3 * torch.rand(())
        if self.how == "sees logits under ignored pixels":
            return right + 1e-3 * logits.float().mean()
        if self.how == "gradient uphill":
            return 2 * right.detach() - right
        return right


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("mean over all pixels", "padding"),
        ("nan where all is ignored", "all ignored|finite"),
        ("not a scalar", "scalar"),
        ("overflows in half", "ignored|finite"),
        ("half sums", "summed in float32"),
        ("other bits", "other bits"),
        ("sees logits under ignored pixels", "ignored pixels"),
        ("gradient uphill", "does not lower it"),
    ],
)
def test_the_common_checks_catch_each_breach(how: str, message: str) -> None:
    broken = type("Broken", (Broken,), {"how": how})
    with pytest.raises(AssertionError, match=rf"^Broken, multiclass: .*({message})"):
        check_loss(broken, tasks=["multiclass"])


def test_the_common_checks_say_what_they_take() -> None:
    with pytest.raises(InputError, match="a class"):
        check_loss(Dice())

    class Bare(torch.nn.Module):
        def __init__(self, *, task: str, ignore_index: int) -> None:
            super().__init__()

    with pytest.raises(AssertionError, match="`task` and `ignore_index` are not kept"):
        check_loss(Bare)  # type: ignore[arg-type]


def test_other_libraries_names_of_options_are_known() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'class_weights'"):
        create_loss("cross_entropy + dice", weight=[1.0, 2.0])
    with pytest.raises(UnknownNameError, match="did you mean 'task'"):
        create_loss("dice", mode="binary")
