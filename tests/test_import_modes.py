"""What a module does in training or for other batch sizes only: read right, refused with its place, or noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fractal_dsl
from fractal_dsl.importing import Refusal, read
from tests.test_import_torch import imported

ROW, IMAGE, WORDS = torch.zeros(1, 4), torch.zeros(1, 3, 6, 6), torch.full((1, 3), 4)


class Calls(nn.Module):
    """A function of a module and an input."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.inner = function, inner or nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def normed(momentum: float, training: bool | None = None) -> nn.Module:
    def call(self: Any, x: Tensor) -> Tensor:
        of = self.inner
        acts = self.training if training is None else training
        return F.batch_norm(x, of.running_mean, of.running_var, of.weight, of.bias, acts, momentum)

    return Calls(call, nn.BatchNorm2d(3))


READ: dict[str, tuple[nn.Module, Tensor, str]] = {
    "momentum 0": (nn.Sequential(nn.BatchNorm2d(3, momentum=0.0)), IMAGE, "batchnorm2d(momentum=0%)"),
    "a function's momentum 0": (normed(0.0), IMAGE, "batchnorm2d(momentum=0%)"),
    "a function's momentum": (normed(0.2), IMAGE, "batchnorm2d(momentum=20%)"),
    "the last index": (
        Calls(lambda self, x: F.embedding(x, self.inner.weight, -1), nn.Embedding(5, 3)),
        WORDS,
        "embedding(5, 3, padding_idx=4)",
    ),
    "an index": (nn.Sequential(nn.Embedding(5, 3, padding_idx=0)), WORDS, "embedding(5, 3, padding_idx=0)"),
    "dropout": (Calls(lambda self, x: F.dropout(self.inner(x), 0.3, self.training)), ROW, ">> dropout(30%)"),
    "dropout of channels": (
        Calls(lambda self, x: self.inner(x) if x.shape[1] < 9 else x, nn.Dropout1d(0.2)),
        torch.zeros(1, 3, 4),
        "dropout1d(20%)",
    ),
    "recurrent": (
        Calls(lambda self, x: self.inner(x)[0], nn.LSTM(4, 6, 2, dropout=0.3, bidirectional=True, batch_first=True)),
        torch.zeros(1, 3, 4),
        "lstm(6, num_layers=2, dropout=30%, bidirectional=true)",
    ),
    "constants without gradients": (
        Calls(lambda self, x: self.inner(x) * torch.full((), 3.0).detach()), ROW, ">> times(3.0)"
    ),
    "chunks of a large batch": (
        Calls(lambda self, x: torch.cat([self.inner(c) for c in x.split(9)]) if x.shape[0] > 9 else self.inner(x)),
        ROW,
        "= linear(4)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_matters_in_training_only_is_read(name: str) -> None:
    module, example, expected = READ[name]
    done = imported(module, example)
    assert expected in done.text and done.notes == ()


class Frozen(nn.Module):
    """A batch norm that is never in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Blocked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.inner(x)
        return x.relu()


def with_hook(register: Callable[[nn.Linear], object]) -> nn.Module:
    linear = nn.Linear(4, 4)
    register(linear)
    return nn.Sequential(linear)


def embedded(**given: Any) -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 3, **given))


def line(condition: Callable[[Tensor], bool]) -> nn.Module:
    return Calls(lambda self, x: self.inner(x).relu() if condition(x) else self.inner(x))


REFUSED: dict[str, tuple[nn.Module, Tensor, str]] = {
    "cumulative average": (
        nn.Sequential(nn.BatchNorm2d(3, momentum=None)), IMAGE, r"momentum=None(.|\n)*in module 0 \(BatchNorm2d\)"
    ),
    "no statistics": (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), IMAGE, "track_running_stats=False"),
    "statistics": (nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True)), IMAGE, "track_running_stats=True"),
    "frozen": (Frozen(), IMAGE, r"uses its running statistics in training(.|\n)*in module norm \(BatchNorm2d\)"),
    "frozen function": (normed(0.1, False), IMAGE, r"running statistics in training(.|\n)*return F.batch_norm"),
    "idle dropout": (Calls(lambda self, x: F.dropout(self.inner(x), 0.3, False)), ROW, r"does not act in training"),
    "detached": (Calls(lambda self, x: self.inner(x).detach()), ROW, r"no gradient passes `detach`(.|\n)*\.py:\d+"),
    "data": (Calls(lambda self, x: self.inner(x).data), ROW, "`getattr` has no counterpart"),
    "no gradients": (Blocked(), ROW, r"no gradient passes `linear`(.|\n)*inner \(Linear\)(.|\n)*x = self.inner\(x\)"),
    "sparse": (embedded(sparse=True), WORDS, "sparse=True"),
    "by frequency": (embedded(scale_grad_by_freq=True), WORDS, "scale_grad_by_freq=True"),
    "renormalised": (embedded(max_norm=1.0), WORDS, "max_norm=1.0"),
    "function's frequency": (
        Calls(lambda self, x: F.embedding(x, self.inner.weight, scale_grad_by_freq=True), nn.Embedding(5, 3)),
        WORDS,
        "embedding with scale_grad_by_freq",
    ),
    "several axes": (nn.Sequential(nn.RMSNorm((3, 4))), torch.zeros(1, 3, 4), "`rmsnorm` takes one"),
    "alpha dropout": (nn.Sequential(nn.AlphaDropout()), ROW, "`alpha_dropout`"),
    "feature dropout": (nn.Sequential(nn.FeatureAlphaDropout()), ROW, "`feature_alpha_dropout`"),
    "random slopes": (nn.Sequential(nn.RReLU()), ROW, "`rrelu`"),
    "gradients' hook": (with_hook(lambda m: m.register_full_backward_hook(lambda *_: None)), ROW, "it has hooks"),
    "weights' hook": (with_hook(lambda m: m.weight.register_hook(lambda g: g * 0)), ROW, "`0.weight` has hooks"),
    "spectral norm": (
        nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))), ROW, "remove parametrizations"
    ),
    "large batches": (line(lambda x: x.shape[0] > 64), ROW, r"something else for 65 examples(.|\n)*\.py:\d+"),
    "one example": (line(lambda x: len(x) == 1), ROW, r"something else for 1 examples(.|\n)*\.py:\d+"),
    "even batches": (line(lambda x: x.size(0) % 2 == 1), ROW, "computes something else"),
    "huge batches": (line(lambda x: x.shape[0] > 2**24), ROW, r"depends on the size of the batch, at 16,777,217"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_train_otherwise_is_refused(name: str) -> None:
    module, example, message = REFUSED[name]
    with pytest.raises(Refusal, match=message):
        read(module, example)


def noisy(self: Any, x: Tensor) -> Tensor:
    if self.training:
        x = x + torch.randn_like(x)
    return self.inner(x)


def attending(self: Any, x: Tensor) -> Tensor:
    q = self.inner(x)
    return F.scaled_dot_product_attention(q, q, q, dropout_p=0.1 if self.training else 0.0)


def half_frozen() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[0].requires_grad_(False)
    return net


NOTED: dict[str, tuple[nn.Module, Tensor, str]] = {
    "noise": (Calls(noisy), ROW, "such as `randn_like`, which the text lacks\n  at "),
    "dropped scores": (Calls(attending), torch.zeros(1, 2, 5, 4), "`scaled_dot_product_attention` has other"),
    "frozen": (half_frozen(), ROW, "20 parameters do not learn; name them in the setting `freeze`"),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_the_text_lacks_in_training_is_noted(name: str) -> None:
    module, example, note = NOTED[name]
    done = imported(module, example)
    assert len(done.notes) == 1 and note in done.notes[0]
    with pytest.warns(UserWarning, match=note.split("`")[0].split(",")[0]):
        fractal_dsl.from_torch(module, example)
