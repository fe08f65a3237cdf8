"""Random well-typed programs, and what they mean.

A program is drawn as text together with its meaning: each piece of text carries a function from the values of
the names around it to its own value, a number or a ``Term``. So parameters, defaults, guards and levels are
evaluated here a second time, by Python, and ``Meaning`` runs the terms by the words of ``language.md``. Nothing
is shared with the compiler but the modules with their weights, in the order of the text.

Every block takes any number of channels and hands on a number that is known (``out``), with the spatial sizes
as they were; poolings stand where the net as a whole leaves room for them. A sequence is [length, features], and
its features are what a block hands on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

# --- meanings


@dataclass(frozen=True, eq=False)
class Op:
    """A built-in layer with the arguments that tell it from others."""

    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Seq:
    """One after another."""

    items: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Bundle:
    """Columns side by side."""

    columns: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Join:
    """A join, and the block that processes what it gives; ``dim`` is the axis of ``concat``."""

    name: str
    after: Term | None = None
    dim: int = 1


@dataclass(frozen=True, eq=False)
class Mention:
    """A rule at a level; ``inside`` the same rule its columns stay open."""

    level: int
    join: Join
    body: Term
    inside: bool


@dataclass(frozen=True, eq=False)
class Each:
    """A block on every column."""

    target: Mention
    block: Term


@dataclass(frozen=True, eq=False)
class Merge:
    """A join on the spot."""

    join: Join
    branches: tuple[Term, ...]


Term = Op | Seq | Bundle | Mention | Each | Merge
Label = tuple[int, int]
Choose = Callable[[list[Label]], list[bool]]


def count(term: Term) -> int:
    """The built-in layers that a term places."""
    match term:
        case Op():
            return 1
        case Seq():
            return sum(map(count, term.items))
        case Bundle():
            return sum(map(count, term.columns))
        case Mention():
            return count(term.body) + (count(term.join.after) if term.join.after else 0)
        case Each():
            return count(term.target) + _width(term.target) * count(term.block)
        case Merge():
            return sum(map(count, term.branches)) + (count(term.join.after) if term.join.after else 0)


def _width(term: Term) -> int:
    match term:
        case Bundle():
            return sum(map(_width, term.columns))
        case Seq():
            return _width(term.items[-1])
        case Mention():
            return _width(term.body)
        case _:
            return 1


class Meaning:
    """Runs a term on a tensor. ``modules`` yields the net's modules in the order of the text; ``live`` tells
    which operands of a rule's join, given their labels, are live."""

    def __init__(self, modules: Iterator[nn.Module], live: Choose | None = None) -> None:
        self.modules = modules
        self.live: Choose = live or (lambda labels: [True] * len(labels))
        self.labels: set[Label] = set()

    def closed(self, term: Term, x: Tensor, at: Mention | None = None) -> Tensor:
        """The one signal at the end of a term; ``at`` is the rule around it."""
        return self.close(*self.open(term, x, at))

    def open(self, term: Term, x: Tensor, at: Mention | None) -> tuple[list[tuple[int, Tensor]], Join | None]:
        """The columns at the end of a term with the levels that brought them in, and the join that closes them."""
        level = at.level if at else 0
        match term:
            case Op():
                return [(level, x if term.name == "id" else apply(term, next(self.modules), x))], None
            case Seq():
                for item in term.items[:-1]:
                    x = self.closed(item, x, at)
                return self.open(term.items[-1], x, at)
            case Bundle():
                assert at is not None
                return [c for column in term.columns for c in self.open(column, x, at)[0]], at.join
            case Mention() | Each():
                mention = term.target if isinstance(term, Each) else term
                columns, _ = self.open(mention.body, x, mention)
                if isinstance(term, Each):
                    columns = [(label, self.closed(term.block, t, at)) for label, t in columns]
                if mention.inside:
                    return columns, mention.join
                return [(level, self.close(columns, mention.join))], None
            case Merge():
                results = [self.closed(branch, x, at) for branch in term.branches]
                y = results[0] if len(results) == 1 else self.joined(term.join, results, [True] * len(results))
                return [(level, self.closed(term.join.after, y, at) if term.join.after else y)], None

    def close(self, columns: list[tuple[int, Tensor]], join: Join | None) -> Tensor:
        """A rule's join over the live columns."""
        if len(columns) == 1:
            return columns[0][1]
        assert join is not None
        levels = [level for level, _ in columns]
        labels = [(level, levels[:i].count(level)) for i, level in enumerate(levels)]
        self.labels.update(labels)
        y = self.joined(join, [t for _, t in columns], self.live(labels))
        return self.closed(join.after, y) if join.after else y

    def joined(self, join: Join, tensors: Sequence[Tensor], live: Sequence[bool]) -> Tensor:
        """A join; of a dropped operand ``concat`` keeps zeros."""
        kept = [t for t, on in zip(tensors, live, strict=True) if on]
        match join.name:
            case "mean":
                return torch.stack(kept).mean(0)
            case "sum":
                return torch.stack(kept).sum(0)
            case "max":
                return torch.stack(kept).amax(0)
            case "gated":
                gate: Any = next(self.modules)
                weights = torch.stack([w for w, on in zip(gate.logits.exp(), live, strict=True) if on])
                return sum([w * t for w, t in zip(weights, kept, strict=True)], torch.zeros(())) / weights.sum()
            case "spread":
                next(self.modules)
                return kept[0] - torch.stack(kept).mean(0) if len(kept) > 1 else kept[0]
            case _:
                parts = [t if on else torch.zeros_like(t) for t, on in zip(tensors, live, strict=True)]
                return torch.cat(parts, join.dim)


def column(labels: set[Label], k: int) -> Choose:
    """Column k: its own operand, else the nearest deeper one, else the deepest."""
    order = sorted(labels, key=lambda label: (-label[0], label[1]))

    def choose(here: list[Label]) -> list[bool]:
        present = [label for label in order if label in here]
        wanted = next((label for label in order[k - 1 :] if label in here), present[-1])
        return [label == wanted for label in here]

    return choose


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
_ADAPTIVE_AVG = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": lambda x: x.clamp(0, 6),
    "selu": F.selu,
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "hardsigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "softmax": lambda x: x.softmax(-1),
    "logsoftmax": lambda x: x.log_softmax(-1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
    "softplus": F.softplus,
    "hardswish": F.hardswish,
    "leakyrelu": lambda x: torch.where(x > 0, x, 0.2 * x),
}


def apply(op: Op, m: Any, x: Tensor) -> Tensor:
    """A built-in layer in eval mode, with the weights of its module and the arguments of the program."""
    a, rank = op.args, x.ndim - 2
    match op.name:
        case "conv":
            assert m.weight.shape[0] == a["out"] and (m.bias is not None) == a["bias"]
            assert tuple(m.weight.shape[2:]) == tuple(a["kernel"])
            groups = a["out"] if a["depthwise"] else 1
            return _CONV[rank](x, m.weight, m.bias, a["stride"], tuple(a["padding"]), a["dilation"], groups)
        case "linear":
            assert m.weight.shape[0] == a["out"] and (m.bias is not None) == a["bias"]
            return F.linear(x, m.weight, m.bias)
        case "project":
            if x.shape[1] == a["out"]:
                assert isinstance(m, nn.Identity)
                return x
            assert m.bias is None and m.weight.shape[0] == a["out"]
            return _CONV[rank](x, m.weight) if rank else F.linear(x, m.weight)
        case "maxpool":
            return _MAX[rank](x, a["kernel"], a["stride"], a["padding"])
        case "avgpool":
            return _AVG[rank](x, a["kernel"], a["stride"], a["padding"])
        case "batchnorm":
            return F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, False, eps=1e-5)
        case "instancenorm":
            return F.instance_norm(x, eps=1e-5)
        case "groupnorm":
            return F.group_norm(x, a["groups"], m.weight, m.bias, 1e-5)
        case "layernorm":
            return F.layer_norm(x, x.shape[-1:], m.weight, m.bias, 1e-5)
        case "dropout":
            assert abs(m.p - a["p"]) < 1e-12
            return x
        case "global_avgpool":
            return x.flatten(2).mean(2)
        case "flatten":
            return x.flatten(1)
        case "convtranspose":
            assert m.weight.shape[1] == a["out"]
            return _TRANSPOSED[rank](x, m.weight, m.bias, 1, 1)
        case "adaptivemaxpool":
            return _ADAPTIVE_MAX[rank](x, a["size"])
        case "adaptiveavgpool":
            return _ADAPTIVE_AVG[rank](x, a["size"])
        case "localresponsenorm":
            return F.local_response_norm(x, 3)
        case "prelu":
            return torch.where(x > 0, x, m.weight * x)
        case "glu":
            half, gate = x.chunk(2, -1)
            return half * gate.sigmoid()
        case "zeropad":
            return F.pad(x, (1, 1) * rank)
        case "upsample":
            return F.interpolate(x, scale_factor=2, mode=a["mode"], align_corners=a["align"] or None)
        case "pixelshuffle":
            return F.pixel_shuffle(x, 2)
        case "embedding":
            assert m.weight.shape[0] == a["count"]
            return m.weight[x]
        case "positions":
            return x + m.weight
        case "attention":
            inner = m.attention
            q, k, v = F.linear(x, inner.in_proj_weight, inner.in_proj_bias).chunk(3, -1)
            scores = q @ k.transpose(1, 2) / x.shape[2] ** 0.5
            if a["causal"]:
                scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
            return inner.out_proj(scores.softmax(-1) @ v)
        case "rnn" | "lstm" | "gru":
            assert isinstance(m.layer, getattr(nn, op.name.upper())) and m.layer.hidden_size == a["out"]
            return m.layer(x)[0]
        case "scaled":
            return x * m.weight
        case "hardtanh":
            return x.clamp(-0.5, 0.5)
        case _:
            return _POINTWISE[op.name](x)


_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}

# --- text with its meaning

Env = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """A text and its value under the names around it. ``loose`` texts take parentheses within others."""

    text: str
    value: Callable[[Env], Any]
    loose: bool = False

    @property
    def tight(self) -> str:
        """The text as an operand."""
        return f"({self.text})" if self.loose else self.text


class TooLarge(Exception):
    """A term with more layers than a test has time for."""


@dataclass(frozen=True, repr=False)
class Program:
    """A drawn program: its text, its meaning, and the shapes of its input and output; ``tokens`` is how many
    different numbers an input of whole numbers has."""

    text: str
    term: Term
    input: tuple[int, ...]
    output: int
    tokens: int = 0

    def __repr__(self) -> str:
        return f"<program\n{self.text}>"


@dataclass(frozen=True)
class Names:
    """What may be mentioned: whole numbers from 1 up, probabilities, lists, blocks that keep their channels
    (``same``), blocks that hand on ``out`` channels, and declared layers and rules."""

    ints: tuple[Piece, ...] = ()
    probs: tuple[Piece, ...] = ()
    lists: tuple[str, ...] = ()
    same: tuple[Piece, ...] = ()
    blocks: tuple[Piece, ...] = ()
    lets: tuple[Piece, ...] = ()


def name(text: str) -> Piece:
    """A mention of a name."""
    return Piece(text, lambda env: env[text])


def number(value: int) -> Piece:
    """A whole number."""
    return Piece(str(value), lambda env: value)


MAX_TERMS = 400
MAX_LAYERS = 60


class Drawer:
    """Draws a program from top to bottom; each declaration may use those above it."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.env: dict[str, Any] = {}
        self.globals = Names()
        self.layers: list[tuple[str, tuple[str, ...]]] = []
        self.rules: list[Rule] = []
        self.joins: list[tuple[str, bool]] = []
        self.rank = self.pick([0, 1, 2, 2, 2, 3, 0])
        self.sequence = not self.rank and self.chance()
        self.dim = 2 if self.sequence else 1  # of the channels, where the batch is 0
        self.foreign = self.chance(5)

    def pick(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self, one_in: int = 2) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == one_in - 1

    # --- numbers

    def int(self, names: Names, depth: int = 1) -> Piece:
        """A whole number from 1 up, of no great size."""
        atoms = [number(self.draw(st.integers(1, 5))), *names.ints]
        atoms += [Piece(f"{l}[{i}]", lambda env, l=l, i=i: env[l][i]) for l in names.lists for i in (0, -1)]
        atoms += [Piece(f"len({l})", lambda env, l=l: len(env[l])) for l in names.lists]
        a = self.pick(atoms)
        if not depth or self.chance():
            return a
        b = self.int(names, 0)
        return self.pick(
            [
                Piece(f"{a.tight} + {b.tight}", lambda env: a.value(env) + b.value(env), True),
                Piece(f"{a.tight} // 2 + 1", lambda env: a.value(env) // 2 + 1, True),
                Piece(f"{a.tight} % 3 + 1", lambda env: a.value(env) % 3 + 1, True),
                Piece(f"2 * {b.tight} - 1", lambda env: 2 * b.value(env) - 1, True),
                Piece(f"-(-{a.tight})", lambda env: a.value(env), True),
            ]
        )

    def prob(self, names: Names) -> Piece:
        half = self.pick([Piece("10%", lambda env: 0.1), Piece("0.25", lambda env: 0.25), *names.probs * 3])
        return self.pick([half, Piece(f"{half.tight} / 2", lambda env: half.value(env) / 2, True)])

    # --- blocks

    def op(self, text: str, name: str, **args: Any) -> Piece:
        """A built-in layer; arguments are pieces, or plain values."""

        def value(env: Env) -> Op:
            return Op(name, {k: v.value(env) if isinstance(v, Piece) else v for k, v in args.items()})

        return Piece(text, value)

    def base(self, out: Piece) -> Piece:
        """A layer with weights that hands on ``out`` channels."""
        r = self.rank
        if self.chance(6) and not self.sequence:
            return self.op(f"project({out.text})", "project", out=out)
        bias = self.chance()
        tail = "" if bias else ", bias=false"
        linear = self.op(f"linear({out.text}{tail})", "linear", out=out, bias=bias)
        if r == 0:
            twice = Piece(f"2 * {out.tight}", lambda env: 2 * out.value(env), True)
            gated = self.flow(self.op(f"linear({twice.text})", "linear", out=twice, bias=True), self.op("glu", "glu"))
            recurrent = [self.op(f"{kind}({out.text})", kind, out=out) for kind in ("rnn", "lstm", "gru")]
            return self.pick([linear, linear, linear, gated, *(recurrent if self.sequence else ())])

        def conv(text: str, kernel: list[int], padding: list[int], dilation: int = 1) -> Piece:
            args = {"kernel": kernel, "padding": padding, "dilation": dilation, "stride": 1, "bias": bias}
            return self.op(f"conv{r}d({text}{tail})", "conv", out=out, depthwise=False, **args)

        o = out.text
        options = [
            conv(f"{o}, 3, padding=1", [3] * r, [1] * r),
            conv(f"out_channels={o}, kernel_size=1", [1] * r, [0] * r),
            conv(f'{o}, 3, padding="same"', [3] * r, [1] * r),
            conv(f"{o}, 3, 1, 2, dilation=2", [3] * r, [2] * r, 2),
        ]
        if r == 2:
            options.append(conv(f"{o}, [3, 1], padding=[1, 0]", [3, 1], [1, 0]))
            four = Piece(f"4 * {out.tight}", lambda env: 4 * out.value(env), True)
            wide = self.op(
                f"conv2d({four.text}, 1)", "conv", out=four, depthwise=False, kernel=[1, 1], padding=[0, 0], dilation=1,
                stride=1, bias=True,
            )  # fmt: skip
            halved = self.op("avgpool2d(2)", "avgpool", kernel=2, stride=2, padding=0)
            options.append(self.flow(wide, self.op("pixelshuffle(2)", "pixelshuffle"), halved))
        options.append(self.op(f"convtranspose{r}d({o}, 3, padding=1{tail})", "convtranspose", out=out))
        padded = self.op(f"zeropad{r}d(1)", "zeropad")
        options.append(self.flow(padded, conv(f"{o}, 3", [3] * r, [0] * r)))
        return self.pick(options)

    def same(self, names: Names) -> Piece:
        """A layer that keeps its shape, whatever it is."""
        r = max(1, self.rank)
        p = self.prob(names)
        options = [
            *[self.op(which, which) for which in _POINTWISE if which != "leakyrelu"],
            self.op("leakyrelu(0.2)", "leakyrelu"),
            self.op(f"batchnorm{r}d", "batchnorm"),
            self.op("layernorm", "layernorm"),
            self.op("prelu(init=0.3)", "prelu"),
            *[self.op(f"dropout({p.text})", "dropout", p=p)] * 5,
            self.op("id", "id"),
            *names.same,
        ]
        if self.sequence:
            options += [
                *[self.op("attention(1)", "attention", causal=False), self.op("positions", "positions")] * 2,
                self.op("attention(1, causal=true)", "attention", causal=True),
            ]
        if self.foreign:
            options += [self.op("scaled(0.5)", "scaled"), self.op("nn.Hardtanh(-0.5, 0.5)", "hardtanh")] * 2
        if self.rank:
            window = {"kernel": 3 if r < 3 else 1, "stride": 1, "padding": 1 if r < 3 else 0}
            near = self.op("upsample(2)" if r != 2 else "upsample([2, 2.0])", "upsample", mode="nearest", align=False)
            smooth = self.op(
                f'upsample(2, mode="{_SMOOTH[r]}", align_corners=true)', "upsample", mode=_SMOOTH[r], align=True
            )
            half = self.op(f"maxpool{r}d(2)", "maxpool", kernel=2, stride=2, padding=0)
            options += [
                self.flow(self.pick([near, smooth]), half),
                self.op("localresponsenorm(3)", "localresponsenorm"),
                self.op("groupnorm(1)", "groupnorm", groups=1),
                self.op(f"instancenorm{r}d()", "instancenorm"),
                self.op(f"dropout{r}d({p.text})", "dropout", p=p),
                self.op(f"maxpool{r}d(3, stride=1, padding=1)", "maxpool", kernel=3, stride=1, padding=1),
                self.op(f"avgpool{r}d({', '.join(map(str, window.values()))})", "avgpool", **window),
            ]
        return self.pick(options)

    def flow(self, *pieces: Piece) -> Piece:
        """Composition."""
        if len(pieces) == 1:
            return pieces[0]
        text = " >> ".join(p.tight for p in pieces)
        return Piece(text, lambda env: Seq(tuple([p.value(env) for p in pieces])), True)

    def layer(self, out: Piece, names: Names) -> Piece:
        """A weighted layer with what follows it."""
        behind = [self.same(names) for _ in range(self.draw(st.integers(0, 2)))]
        if self.rank and self.chance(6):
            text = f"conv{self.rank}d({out.text}, 3, padding=1, groups={out.text})"
            args = {"kernel": [3] * self.rank, "padding": [1] * self.rank, "dilation": 1, "stride": 1, "bias": True}
            behind.append(self.op(text, "conv", out=out, depthwise=True, **args))
        if self.rank and self.chance(6):
            behind.append(self.op(f"groupnorm({out.text})", "groupnorm", groups=out))
        return self.flow(self.base(out), *behind)

    def block(self, out: Piece, names: Names, depth: int = 2) -> Piece:
        """Any block that hands on ``out`` channels and takes any number."""
        if depth == 0 or self.chance():
            options = [self.layer(out, names), *(names.blocks if out.text == "out" else ())]
            return self.call(out, names) if self.layers and self.chance() else self.pick(options)
        below = depth - 1
        match self.pick("flow flow merge each_of each_of residual concat repeat tag seq zip let rule".split()):
            case "flow":
                return self.flow(self.block(self.int(names), names, below), self.block(out, names, below))
            case "merge":
                kind = self.pick(["sum", "mean", "max", "gated"])
                return self.merge(kind, [self.block(out, names, below) for _ in range(self.draw(st.integers(1, 3)))])
            case "each_of" if self.chance(4):
                return self.flow(self.each_of("concat", self.int(names), names), self.base(out))
            case "each_of":
                return self.each_of(self.pick(["sum", "mean", "max", "gated"]), out, names)
            case "residual":
                inner = self.merge(self.pick(["sum", "mean"]), [self.op("id", "id"), self.block(out, names, below)])
                return self.flow(self.layer(out, names), inner)
            case "concat":
                branches = [self.block(self.int(names), names, below) for _ in range(2)]
                return self.flow(self.merge("concat", branches), self.base(out))
            case "repeat":
                inner, times = self.block(out, names, below), self.draw(st.integers(1, 2))
                return Piece(f"{inner.tight} ** {times}", lambda env: Seq((inner.value(env),) * times), True)
            case "tag":
                inner = self.block(out, names, below)
                text = self.pick(['@tag("a part")', "@checkpoint"])
                return Piece(f"{inner.tight} {text}", inner.value, True)
            case "seq":
                i = Piece("i + 1", lambda env: env["i"] + 1, True)
                inner, times = self.block(out, replace(names, ints=(*names.ints, i)), 0), self.draw(st.integers(1, 3))
                value = inner.value
                return Piece(
                    f"seq({inner.text} for i in range({times}))",
                    lambda env: Seq(tuple([value({**env, "i": i}) for i in range(times)])),
                )
            case "zip" if names.lists:
                return self.flow(self.zip(names), self.base(out))
            case "let" if names.lets:
                return self.flow(self.pick(names.lets), self.base(out))
            case "rule" if self.rules:
                return self.flow(self.mention(self.pick(self.rules), names), self.base(out))
            case _:
                return self.layer(out, names)

    def zip(self, names: Names) -> Piece:
        """A chain over the elements of two lists."""
        a, b = self.pick(names.lists), self.pick(names.lists)
        inner = self.block(name("w"), replace(names, ints=(*names.ints, name("v"))), 0)
        loop = f"for w, v in zip({a}, reversed({b}))" if self.chance() else f"for w, v in zip({b}, reversed({a}))"
        first, second = (a, b) if loop.startswith(f"for w, v in zip({a}") else (b, a)

        def value(env: Env) -> Seq:
            pairs = zip(env[first], reversed(env[second]), strict=True)
            return Seq(tuple([inner.value({**env, "w": w, "v": v}) for w, v in pairs]))

        return Piece(f"seq([{inner.text} {loop}])", value)

    def loop(self, names: Names) -> tuple[str, Callable[[Env], Sequence[int]]]:
        """A list of numbers from 0 up to loop over, often one that is a parameter or depends on the level."""
        if names.lists and self.chance():
            values = self.pick(names.lists[-2:])
            return self.pick([values, f"reversed({values})"]), lambda env: env[values]
        count = self.int(names)
        return f"range({count.tight} % 2 + 1)", lambda env: range(count.value(env) % 2 + 1)

    def each_of(self, join: str, out: Piece, names: Names, inner: Piece | None = None) -> Piece:
        """A join on the spot with a branch for each element of a list, and now and then one beside them."""
        text, values = self.loop(names)
        v = Piece("v % 3 + 1", lambda env: env["v"] % 3 + 1, True)
        backwards = text.startswith("reversed")
        body = inner or self.block(out, replace(names, ints=(*names.ints, v, v)), 0)
        before = [self.block(out, names, 0)] if not inner and self.chance(3) else []
        used = self.pick([join, *[n for n, keeps in self.joins if keeps and join != "concat"]])
        loop = f"{body.text} for v in {text}"
        listed = before or (used == "concat" and self.sequence)
        arguments = ", ".join([b.text for b in before] + [f"[{loop}]" if listed else loop])
        tail = f", dim={self.dim}" if used == "concat" and self.sequence else ""

        def value(env: Env) -> Merge:
            made = env[used] if used in env else Join(used, dim=self.dim)
            rounds = list(values(env))[::-1] if backwards else values(env)
            branches = [body.value({**env, "v": v}) for v in rounds]
            return Merge(made, (*[b.value(env) for b in before], *branches))

        return Piece(f"{used}({arguments}{tail})", value)

    def merge(self, join: str, branches: Sequence[Piece]) -> Piece:
        """A join on the spot, by a built-in join or a declared one of its kind."""
        used = self.pick([join, *[n for n, keeps in self.joins if keeps and join != "concat"]])
        listed = len(branches) > 1 and self.chance(4)
        text = ", ".join(b.text for b in branches)

        def value(env: Env) -> Merge:
            made = env[used] if used in env else Join(used, dim=self.dim)
            return Merge(made, tuple([b.value(env) for b in branches]))

        tail = f", dim={self.dim}" if used == "concat" and self.sequence else ""
        return Piece(f"{used}([{text}]{tail})" if listed else f"{used}({text}{tail})", value)

    @property
    def concat(self) -> str:
        """The join that puts channels together."""
        return f"concat(dim={self.dim})" if self.sequence else "concat"

    # --- declarations

    def params(self) -> None:
        """Parameters of the file, and lets."""
        ints, probs, lists = [], [], []
        for i in range(self.draw(st.integers(0, 2))):
            value = self.draw(st.integers(1, 5))
            self.lines.append(f"param size{i}: int = {value} in {self.pick(['1..5', '{1, 2, 3, 4, 5}'])}")
            self.env[f"size{i}"] = value
            ints.append(name(f"size{i}"))
        if self.chance():
            self.lines.append("param drop: prob = 15%")
            self.env["drop"] = 0.15
            probs.append(name("drop"))
        values = self.draw(st.lists(st.integers(1, 5), min_size=2, max_size=3))
        self.lines.append(f"param widths: [int] = {values}")
        self.env["widths"] = tuple(values)
        lists.append("widths")
        if self.chance():
            a = self.int(Names(tuple(ints), (), tuple(lists)), 0)
            self.lines.append(f"let wider = [w + {a.tight} for w in widths]")
            self.env["wider"] = tuple([w + a.value(self.env) for w in values])
            lists.append("wider")
        self.globals = Names(tuple(ints), tuple(probs), tuple(lists))
        if self.chance():
            whole = self.int(self.globals)
            self.lines.append(f"let k = {whole.text}")
            self.env["k"] = whole.value(self.env)
            self.globals = replace(self.globals, ints=(*self.globals.ints, name("k")))

    def let_block(self) -> None:
        piece = self.block(self.int(self.globals), self.globals, 1)
        if not self.fits(piece, 12):
            return
        let = f"part{len(self.globals.lets)}"
        self.lines.append(f"let {let} = {piece.text}")
        self.env[let] = piece.value(self.env)
        self.globals = replace(self.globals, lets=(*self.globals.lets, name(let)))

    def signature(self) -> tuple[str, Names, dict[str, Piece | None], tuple[str, ...]]:
        """The parameters of a layer or rule: their text, the names that they make, their defaults."""
        defaults: dict[str, Piece | None] = {"out": None}
        parts = ["out: int"]
        names = replace(self.globals, ints=(*self.globals.ints, name("out")))
        if self.chance():
            p = self.prob(self.globals)
            parts.append(f"p: prob = {p.text}")
            defaults["p"] = p
            names = replace(names, probs=(*names.probs, name("p")))
        if self.chance(3):
            act = self.same(self.globals)
            parts.append(f"act: block = {act.text}")
            defaults["act"] = act
            names = replace(names, same=(*names.same, *[name("act")] * 6))
        if self.chance(3):
            parts.append("b: block")
            defaults["b"] = None
        if self.chance():
            values = self.numbers(self.globals)
            parts.append(f"ks: [int] = {values.text}")
            defaults["ks"] = values
            names = replace(names, lists=(*names.lists, "ks"))
        return ", ".join(parts), names, defaults, tuple(defaults)

    def numbers(self, names: Names) -> Piece:
        """A list as long as the other lists."""
        source = self.pick(names.lists)
        made = Piece(f"[w % 3 + 1 for w in {source}]", lambda env: tuple([w % 3 + 1 for w in env[source]]))
        return self.pick([name(source), made])

    def arguments(self, out: Piece, given: tuple[str, ...], names: Names, outs: bool = True) -> dict[str, Piece]:
        """Arguments of a call; those with a default now and then."""
        args: dict[str, Piece] = {"out": out} if outs else {}
        if "p" in given and self.chance():
            args["p"] = self.prob(names)
        if "act" in given and self.chance():
            args["act"] = self.same(names)
        if "b" in given:
            args["b"] = self.layer(out, names)
        if "ks" in given and self.chance():
            args["ks"] = self.numbers(names)
        return args

    def written(self, args: Mapping[str, Piece], given: tuple[str, ...]) -> str:
        """Arguments as text: by position as long as none is left out, or by name."""
        parts: list[str] = []
        position = self.chance()
        for parameter in given:
            position = position and parameter in args
            if parameter in args:
                parts.append(args[parameter].text if position else f"{parameter}={args[parameter].text}")
        return f"({', '.join(parts)})" if parts else ""

    def layer_decl(self) -> None:
        text, names, defaults, given = self.signature()
        title = self.pick(["conv", "forward", "class", "x_1", "self"]) + str(len(self.layers) or "")
        if "b" in given:
            names = replace(names, blocks=(name("b"),) * 3)
        body = self.block(name("out"), names)
        self.lines.append(f"layer {title}({text}) = {body.text}")
        self.env[title] = self.function(body, defaults)
        self.layers.append((title, given))

    def function(self, body: Piece, defaults: Mapping[str, Piece | None]) -> Callable[[Mapping[str, Any]], Term]:
        """What a call of a layer means: its body under its arguments."""

        def called(args: Mapping[str, Any]) -> Term:
            return body.value({**self.env, **filled(args, defaults, self.env), "@rule": None})

        return called

    def call(self, out: Piece, names: Names) -> Piece:
        """A call of a declared layer."""
        title, given = self.pick(self.layers)
        inner = replace(names, lets=())
        args = self.arguments(out, given, inner)
        return Piece(
            f"{title}{self.written(args, given)}",
            lambda env: env[title]({k: v.value(env) for k, v in args.items()}),
        )

    def join_decl(self) -> None:
        title = f"close{len(self.joins)}"
        keeps = self.chance()
        if keeps:
            kind, after = self.pick(["mean", "sum", "max", "gated"]), self.same(self.globals)
            self.lines.append(f"join {title} = {kind} >> {after.tight}")
            self.env[title] = Join(kind, after.value(self.env))
        else:
            after = self.base(name("out"))
            self.lines.append(f"join {title}(out: int) = {self.concat} >> {after.text}")
            env = self.env
            self.env[title] = lambda out: Join("concat", after.value({**env, "out": out}), self.dim)
        self.joins.append((title, keeps))

    def rule_decl(self) -> None:
        """A rule: one of some recurrences, its columns drawn."""
        text, names, defaults, given = self.signature()
        title = f"R{len(self.rules)}"
        if "b" in given:
            names = replace(names, blocks=(name("b"),) * 3)
        join, use = self.rule_join(names)
        if join == "j":
            text, given = f"{text}, j: join = max", (*given, "j")
            defaults["j"] = Piece("max", lambda env: Join("max"))
        rule = Rule(title, given, dict(defaults), use, lowest=0)
        self.env[title] = rule
        cases: list[tuple[str | None, int, Piece | None, list[Piece]]] = []

        def low(var: str | None = None, guard: Piece | None = None, level: int = 1) -> None:
            cases.append((var, level, guard, []))

        def high(offset: int, below: Sequence[Piece], guard: Piece | None = None) -> None:
            cases.append(("n", offset, guard, list(below)))

        n = name("n")
        n1, n2 = (Piece(f"n - {k}", lambda env, k=k: env["n"] - k, True) for k in (1, 2))
        up = Piece("n + 1", lambda env: env["n"] + 1, True)
        width = Piece("widths[n % len(widths)]", lambda env: env["widths"][env["n"] % len(env["widths"])])
        half = Piece("n // 2", lambda env: env["n"] // 2, True)
        match self.pick(["one", "one", "two", "zero", "guard", "below"]):
            case "two":
                low(level=1)
                low(level=2)
                high(2, [n, up])
            case "zero":
                low(level=0)
                high(1, [n, half])
            case "guard":
                low(level=1)
                guards = [
                    Piece("n % 2 == 0", lambda env: env["n"] % 2 == 0),
                    Piece("n >= 2 and not (n == 3)", lambda env: env["n"] >= 2 and env["n"] != 3),
                    Piece("n < 2 or n > 2", lambda env: env["n"] != 2),
                ]
                high(1, [n], self.pick(guards))
                high(1, [n])
            case "below":
                low("n", Piece("n <= 1", lambda env: env["n"] <= 1), 0)
                high(0, [n1, n2])
            case _:
                low(level=1)
                high(1, [n])
        rule.lowest = min(c[1] for c in cases if c[0] is None) if any(c[0] is None for c in cases) else 0
        drawn: list[tuple[str, Case]] = []
        for var, offset, guard, below in cases:
            inner = replace(names, ints=(*names.ints, *([up, width] if var else [])))
            body = self.bundle(rule, inner, below)
            level = f"{var}+{offset}" if var and offset else var or str(offset)
            head = f"{title}[{level}]" + (f" when {guard.text}" if guard else "")
            drawn.append((f"    {head} = {body.text}", Case(var, offset, guard, body)))
        if self.chance(3):
            fixed = [d for d in drawn if d[1].var is None]
            drawn = [d for d in drawn if d[1].var is not None] + fixed
        rule.cases = [c for _, c in drawn]
        self.lines.append(f"rule {title}({text}) join {join} {{\n" + "\n".join(t for t, _ in drawn) + "\n}")
        self.rules.append(rule)

    def rule_join(self, names: Names) -> tuple[str, Callable[[Env], Join]]:
        """The join of a rule: its text and its value under the rule's arguments."""
        options: list[tuple[str, Callable[[Env], Join]]] = [
            (kind, lambda env, kind=kind: Join(kind)) for kind in ("mean", "mean", "sum", "max", "gated")
        ]
        options.append((self.concat, lambda env: Join("concat", dim=self.dim)))
        if self.foreign:
            options += [("spread", lambda env: Join("spread"))] * 3
        options.append(("j", lambda env: env["j"]))
        for title, keeps in self.joins:
            if keeps:
                options.append((title, lambda env, title=title: env[title]))
            else:
                options.append((f"{title}(out)", lambda env, title=title: env[title](env["out"])))
        after = self.same(names)
        options.append((f"(mean >> {after.tight})", lambda env: Join("mean", after.value(env))))
        return self.pick(options)

    def bundle(self, rule: Rule, names: Names, below: Sequence[Piece]) -> Piece:
        """The columns of a case; ``below`` are the levels that it may mention."""
        columns = [self.column(rule, names, below, 2 if below else 0)]
        for _ in range(self.draw(st.integers(0, 2))):
            columns.append(self.column(rule, names, below, self.draw(st.integers(0, 1)) if below else 0))
        return self.side_by_side(columns)

    def side_by_side(self, columns: Sequence[Piece]) -> Piece:
        if len(columns) == 1:
            return columns[0]
        text = " | ".join(c.text for c in columns)
        return Piece(text, lambda env: Bundle(tuple([c.value(env) for c in columns])), True)

    def column(self, rule: Rule, names: Names, below: Sequence[Piece], mentions: int) -> Piece:
        """A column that hands on ``out`` channels, with up to so many mentions of the rule itself."""
        out = name("out")
        steps: list[Piece] = []
        for _ in range(mentions):
            inner = self.inner(rule, names, self.pick(below))
            each_of = self.chance(4)
            steps.append(self.each_of(self.pick(["sum", "mean"]), out, names, inner) if each_of else inner)
            if self.chance(4):
                steps.append(self.layer(out, names))
        if not steps or self.chance(4):
            steps.append(self.block(out, names, 1))
        if self.chance(6):
            columns = [self.block(out, names, 0), self.block(out, names, 0)]
            steps.insert(0, self.side_by_side(columns))
        return self.flow(*steps)

    def inner(self, rule: Rule, names: Names, level: Piece) -> Piece:
        """A mention of the rule within itself: arguments that are not written stay."""
        args: dict[str, Piece] = {}
        if "p" in rule.given and self.chance(4):
            args["p"] = self.prob(names)
        if "act" in rule.given and self.chance(4):
            args["act"] = self.same(names)
        if "b" in rule.given and self.chance(4):
            args["b"] = self.block(name("out"), replace(names, blocks=()), 0)
        if "ks" in rule.given and self.chance(4):
            args["ks"] = self.numbers(names)
        piece = Piece(
            f"{rule.title}[{level.text}]{self.written(args, rule.given)}",
            lambda env: rule.at(env, level.value(env), {k: v.value(env) for k, v in args.items()}),
        )
        if self.chance(8):
            return Piece(f'{piece.text} @tag("{rule.title}")', piece.value, True)
        return self.each(piece, self.same(names)) if self.chance(6) else piece

    def each(self, mention: Piece, block: Piece) -> Piece:
        """A block on each column."""
        return Piece(f"{mention.text}.each({block.text})", lambda env: Each(mention.value(env), block.value(env)))

    def mention(self, rule: Rule, names: Names, level: Piece | None = None, out: Piece | None = None) -> Piece:
        """A mention of a rule outside it."""
        at = level or number(rule.lowest + self.draw(st.integers(0, 1)))
        args = self.arguments(out or self.int(names), rule.given, names)
        if "j" in rule.given and self.chance():
            kind = self.pick(["mean", "sum"])
            args["j"] = Piece(kind, lambda env: Join(kind))
        return Piece(
            f"{rule.title}[{at.text}]{self.written(args, rule.given)}",
            lambda env: rule.at(env, at.value(env), {k: v.value(env) for k, v in args.items()}),
        )

    # --- the net

    def program(self) -> Program:
        """The whole program."""
        if self.chance():
            self.lines.append("frac 1")
        if self.foreign:
            self.lines.append('extern layer scaled(k: float) from "tests.support.parts:Scaled"')
            self.lines.append('extern join spread from "tests.support.parts:Spread"')
        self.params()
        for _ in range(self.draw(st.integers(0, 4))):
            self.pick([self.layer_decl, self.join_decl, self.rule_decl, self.let_block])()
        self.rule_decl()
        size = [self.draw(st.integers(4, 8 if self.rank < 3 else 5)) for _ in range(self.rank)]
        channels = self.draw(st.integers(1, 4))
        shape = (channels, self.draw(st.integers(1, 4))) if self.sequence else (channels, *size)
        tokens = 6 if self.sequence and self.chance() else 0
        budget = MAX_LAYERS
        stages: list[Piece] = []
        for _ in range(self.draw(st.integers(1, 3))):
            stage, size = self.stage(size, budget)
            if stage is not None:
                Rule.made = 0
                budget -= count(stage.value(self.env))
                stages.append(stage)
        classes = self.int(self.globals)
        head = [self.op(f"linear({classes.text})", "linear", out=classes, bias=True)]
        if self.rank or self.sequence:
            head.insert(0, self.pick([self.op("flatten", "flatten"), self.op("global_avgpool", "global_avgpool")]))
        if tokens:
            shape = shape[:1]
            whole = self.merge("max", [self.op("id", "id")] * 2)
            width = self.int(self.globals)
            table = self.op(f"embedding({tokens}, {width.text})", "embedding", count=tokens)
            stages[:0] = [table] if self.joins or self.chance() else [whole, table]
        body = self.flow(*stages, *head)
        options = self.pick(
            [
                "",
                ' with init("xavier")',
                " with drop_path(local=15%, global=50%)",
                ' with drop_path(30%), init("kaiming")',
                " with drop_path(local=10%, columns=all)",
            ]
        )
        output = classes.value(self.env)
        dims = ", ".join(map(str, shape))
        self.lines.append(
            f"net N(x: {'i64' if tokens else 'f32'}[{dims}]) -> f32[{classes.text}]{options}\n    = {body.text}"
        )
        return Program("\n".join(self.lines) + "\n", body.value(self.env), shape, output, tokens)

    def stage(self, size: list[int], budget: int) -> tuple[Piece | None, list[int]]:
        """A part of the net, and the spatial sizes behind it. None where all that was drawn is too large."""
        names = self.globals
        room = bool(size) and min(size) >= 4
        pool = self.op(f"maxpool{self.rank}d(2)", "maxpool", kernel=2, stride=2, padding=0)
        kinds = [f"adaptive{kind}pool" for kind in ("avg", "max")]
        adaptive = [self.op(f"{kind}{self.rank}d(2)", kind, size=2) for kind in kinds]
        match self.pick(["rule", "rule", "rule", "block", "zip", "down", "adaptive"]):
            case "block":
                tries = [self.block(self.int(names), names)]
            case "adaptive" if room:
                return self.pick(adaptive), [2] * self.rank
            case "down" if room:
                out = self.int(names)
                args = {"kernel": [3] * self.rank, "padding": [1] * self.rank, "dilation": 1, "stride": 2, "bias": True}
                text = f"conv{self.rank}d({out.text}, 3, stride=2, padding=1)"
                return self.op(text, "conv", out=out, depthwise=False, **args), [(s - 1) // 2 + 1 for s in size]
            case "zip":
                rule = self.pick(self.rules)
                tries = []
                for level in (rule.lowest + 1, rule.lowest):
                    inner = self.mention(rule, names, number(level), name("w"))
                    inner = self.each(inner, self.same(names)) if self.chance() else inner
                    tries.append(
                        Piece(
                            f"seq({inner.text} for w in widths)",
                            lambda env, inner=inner: Seq(tuple([inner.value({**env, "w": w}) for w in env["widths"]])),
                        )
                    )
            case _:
                rule = self.pick(self.rules)
                top = rule.lowest + self.draw(st.integers(0, 3))
                levels = [self.level(level) for level in range(top, rule.lowest - 1, -1)]
                template = self.mention(rule, names, Piece("{level}", lambda env: env["@level"]))
                pooled = self.pick(["", "each", "flow"]) if room else ""
                tries = []
                for level in levels:
                    text = template.text.replace("{level}", level.text)

                    def value(env: Env, level: Piece = level) -> Term:
                        return template.value({**env, "@level": level.value(env)})

                    piece = Piece(text, value)
                    if pooled:
                        piece = self.each(piece, pool) if pooled == "each" else self.flow(piece, pool)
                    tries.append(piece)
                if pooled:
                    small = [s // 2 for s in size]
                    return next((t for t in tries if self.fits(t, budget)), None), small
        return next((t for t in tries if self.fits(t, budget)), None), size

    def level(self, level: int) -> Piece:
        """A level as a number or an expression."""
        names = [(n, v) for n, v in self.env.items() if isinstance(v, int)]
        options = [number(level), Piece(f"{level + 1} - 1", lambda env: level, True)]
        for n, v in names:
            options.append(Piece(f"{n} + {level - v}" if level >= v else f"{n} - {v - level}", lambda env: level, True))
        return self.pick(options)

    def fits(self, piece: Piece, budget: int) -> bool:
        try:
            Rule.made = 0
            return count(piece.value(self.env)) <= budget
        except TooLarge:
            return False


def filled(args: Mapping[str, Any], defaults: Mapping[str, Piece | None], env: Env) -> dict[str, Any]:
    """Arguments with the defaults of those that are not given."""
    return {k: args[k] if k in args else d.value(env) if d else None for k, d in defaults.items()}


@dataclass(frozen=True)
class Case:
    """A case of a rule: ``var + offset``, or the level ``offset``."""

    var: str | None
    offset: int
    guard: Piece | None
    body: Piece


class Rule:
    """What a mention of a rule means."""

    made = 0

    def __init__(
        self,
        title: str,
        given: tuple[str, ...],
        defaults: dict[str, Piece | None],
        join: Callable[[Env], Join],
        lowest: int,
    ) -> None:
        self.title, self.given, self.defaults, self.join, self.lowest = title, given, defaults, join, lowest
        self.cases: list[Case] = []

    def at(self, env: Env, level: int, args: Mapping[str, Any]) -> Mention:
        """A mention where the names of ``env`` hold."""
        Rule.made += 1
        if Rule.made > MAX_TERMS:
            raise TooLarge
        inside = env.get("@rule") is self
        if inside:
            values = {k: args[k] if k in args else env[k] for k in self.given}
        else:
            values = filled(args, self.defaults, env["@globals"])
        for case in sorted(self.cases, key=lambda c: c.var is not None):
            n = level - case.offset
            if n < 0 or (case.var is None and n != 0):
                continue
            inner = {**env["@globals"], **values, "@rule": self}
            if case.var is not None:
                inner[case.var] = n
            if case.guard is None or case.guard.value(inner):
                return Mention(level, self.join(inner), case.body.value(inner), inside)
        raise AssertionError(f"no case of {self.title} matches {level}")


@st.composite
def programs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Program:
    """Well-typed programs of some 60 layers at the most."""
    drawer = Drawer(draw)
    drawer.env["@globals"] = drawer.env
    Rule.made = 0
    return drawer.program()
