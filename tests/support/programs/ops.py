"""Draws layers with what follows them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.support.programs.layers import POINTWISE, Op
from tests.support.programs.meaning import Join, Merge, Seq
from tests.support.programs.numbers import Numbers
from tests.support.programs.pieces import Env, Names, Piece

_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}
_ATTEND = Piece("attend(id, id, id)", lambda env: Merge(Join("attend"), (Op("id", {}),) * 3))


class Ops(Numbers):
    """Draws layers with what follows them."""

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
        if r == 2 and self.chance(6):
            return self.op(f"stdconv2d({o}, 3, padding=1)", "stdconv")
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
            doubled = self.op("upsample(2)", "upsample", mode="nearest", align=False)
            apart = self.op("pixelunshuffle(2)", "pixelunshuffle")
            options.append(self.flow(doubled, apart, conv(f"{o}, 1", [1, 1], [0, 0])))
        options.append(self.op(f"convtranspose{r}d({o}, 3, padding=1{tail})", "convtranspose", out=out))
        pads = [self.op(f"zeropad{r}d(1)", "zeropad"), self.op(f"constantpad{r}d(1, 0.5)", "constantpad")]
        padded = self.pick(pads)
        options.append(self.flow(padded, conv(f"{o}, 3", [3] * r, [0] * r)))
        return self.pick(options)

    def same(self, names: Names) -> Piece:
        """A layer that keeps its shape, whatever it is."""
        r = max(1, self.rank)
        p = self.prob(names)
        options = [
            *[self.op(which, which) for which in POINTWISE if which != "leakyrelu"],
            self.op("leakyrelu(0.2)", "leakyrelu"),
            self.op(f"batchnorm{r}d", "batchnorm"),
            self.op("layernorm", "layernorm"),
            self.op("prelu(init=0.3)", "prelu"),
            self.op("rmsnorm(0.001)", "rmsnorm"),
            self.op("scale(0.5, -1)", "scale"),
            self.op("shift(0.5, -1)", "shift"),
            self.flow(self.op("times(0.5)", "times", by=0.5), self.op("plus(0.25)", "plus", by=0.25)),
            self.flow(self.op("sigmoid", "sigmoid"), self.op("power(0.5)", "power", by=0.5)),
            self.flow(self.op("clamp(-1, 0.5)", "clamp"), self.op("exp", "exp")),
            self.op("slice(-1, -99)", "slice", start=0),
            self.op("normalize(-1)", "normalize"),
            *[self.op(f"dropout({p.text})", "dropout", p=p)] * 5,
            self.op("id", "id"),
            *names.same,
        ]
        if self.sequence:
            options += [
                *[self.op("attention(1)", "attention", causal=False), self.op("positions", "positions")] * 2,
                self.op("attention(1, causal=true)", "attention", causal=True),
                self.op("attention(1, kv_heads=1, window=2)", "grouped"),
                self.flow(self.op("class_token", "class_token"), self.op("slice(1, 1)", "slice", start=1)),
            ]
        if self.sequence or self.rank:
            options += [_ATTEND, self.matmul(), self.biased()]
        if self.foreign:
            options += [self.op("scaled(0.5)", "scaled"), self.op("nn.Hardtanh(-0.5, 0.5)", "hardtanh")] * 2
        if self.rank:
            window = {"kernel": 3 if r < 3 else 1, "stride": 1, "padding": 1 if r < 3 else 0}
            near = self.op("upsample(2)" if r != 2 else "upsample([2, 2.0])", "upsample", mode="nearest", align=False)
            smooth = self.op(
                f'upsample(2, mode="{_SMOOTH[r]}", align_corners=true)', "upsample", mode=_SMOOTH[r], align=True
            )
            half = self.op(f"maxpool{r}d(2)", "maxpool", kernel=2, stride=2, padding=0)
            swap, back = self.op("transpose(1, -1)", "transpose"), self.op(f"transpose({r + 1}, 1)", "transpose")
            thinned = self.op("slice(2, step=2)", "thinned")
            turn = self.op(f"permute({[*range(r + 1, 0, -1)]})", "permute")
            options += [
                *[self.op("layernorm2d", "layernorm2d"), self.op("window_attention(1, 1)", "window")] * (r == 2),
                self.flow(turn, self.op("softmax", "softmax"), turn),
                self.op("roll([2, 1], [-1, 2])", "roll"),
                self.flow(self.pick([near, smooth]), half),
                *[self.flow(near, thinned, self.op("slice(3, step=2)", "thin"))] * (r == 2),
                self.flow(swap, self.op("logsoftmax", "logsoftmax"), back),
                self.op("localresponsenorm(3)", "localresponsenorm"),
                self.op("groupnorm(1)", "groupnorm", groups=1),
                self.op(f"instancenorm{r}d()", "instancenorm"),
                self.op(f"dropout{r}d({p.text})", "dropout", p=p),
                self.op(f"maxpool{r}d(3, stride=1, padding=1)", "maxpool", kernel=3, stride=1, padding=1),
                self.op(f"avgpool{r}d({', '.join(map(str, window.values()))})", "avgpool", **window),
            ]
        return self.annotated(self.pick(options))

    def biased(self) -> Piece:
        """A term for all numbers: a learned one, which a table of one distance may give, or a constant."""
        axes = 2 if self.sequence or self.rank == 2 else self.rank + 1
        terms = [self.op(f"parameter({[1] * axes})", "parameter")]
        if self.rank == 2:
            last = self.flow(self.op("slice(1, 2)", "slice", start=2), self.op("slice(3, 0, 1)", "first"))
            terms = [
                self.flow(terms[0], self.op("pairs(1)", "pairs")),
                self.op("window_mask(1, 1, 0)", "hidden"),
                self.flow(self.op("distances([2, 1])", "distances"), last),
            ]
        term = self.pick(terms)
        return Piece(f"sum(id, {term.text})", lambda env: Merge(Join("sum"), (Op("id", {}), term.value(env))))

    def matmul(self) -> Piece:
        """A matrix times its transpose, made small, times the matrix."""
        small, turned = self.op("sigmoid", "sigmoid"), self.op("transpose(-2, -1)", "turn")
        text = "matmul(matmul(sigmoid, sigmoid >> transpose(-2, -1)) >> times(0.001), id)"

        def value(env: Env) -> Merge:
            square = Merge(Join("matmul"), (small.value(env), Seq((small.value(env), turned.value(env)))))
            return Merge(Join("matmul"), (Seq((square, Op("times", {"by": 0.001}))), Op("id", {})))

        return Piece(text, value)

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
        if self.rank and self.chance(6):
            two = Piece(f"2 * {out.tight}", lambda env: 2 * out.value(env), True)
            args = {"kernel": [1] * self.rank, "padding": [0] * self.rank, "dilation": 1, "stride": 1, "bias": True}
            wide = self.op(f"conv{self.rank}d({two.text}, 1)", "conv", out=two, depthwise=False, **args)
            shuffled = self.op("channel_shuffle(2)", "channel_shuffle")
            halves = [f"slice(1, {out.text})", f"split([{out.text}, {out.text}])[1]"]
            half = self.op(self.pick(halves), "slice", start=out)
            behind.append(self.flow(wide, shuffled, half))
        return self.annotated(self.flow(self.annotated(self.base(out)), *behind))
