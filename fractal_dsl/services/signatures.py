"""The signature of a symbol, as it is declared, on one line."""

from __future__ import annotations

from fractal_dsl.language import syntax as s
from fractal_dsl.services.symbols import Symbol


def declaration_head(symbol: Symbol) -> str:
    """How a symbol is declared, without its body: ``layer conv(out: int, kernel: int = 3)``."""
    symbol = symbol.declared
    node, written = symbol.node, symbol.source.slice
    match node:
        case s.LayerDecl():
            return f"{'join' if node.is_join else 'layer'} {symbol.name}{parameter_list(symbol)}"
        case s.Extern():
            kind = "join" if node.is_join else "layer"
            return f'extern {kind} {symbol.name}{parameter_list(symbol)} from "{node.target.value}"'
        case s.RuleDecl():
            join = f" join {_line(written(node.join.span))}" if node.join is not None else ""
            return f"rule {symbol.name}{parameter_list(symbol)}{join}"
        case s.NetDecl():
            inputs = ", ".join([_line(written(one.span)) for one in node.inputs])
            outputs = ", ".join([_line(written(one.span)) for one in node.outputs])
            return f"net {symbol.name}({inputs}) -> {f'({outputs})' if len(node.outputs) > 1 else outputs}"
        case s.Param() | s.Parameter() | s.Let() | s.Import() | s.FromImport():
            return _line(written(node.span))
        case s.Case():
            return f"level {symbol.name} of {node.rule.id}"
        case s.Comprehension():
            return f"{symbol.name} in {_line(written(node.iterable.span))}"
        case s.Binding():
            return f"value {_line(written(node.span))}"
        case s.TrainDecl() | s.BrokenDecl():
            return symbol.name


def parameter_list(symbol: Symbol) -> str:
    """The parameters of a layer, a join or a rule in parentheses; nothing if it has none."""
    params = symbol.params
    return f"({', '.join(parameter_texts(symbol))})" if params else ""


def parameter_texts(symbol: Symbol) -> list[str]:
    """The parameters of a symbol, as they are declared."""
    return [_line(symbol.declared.source.slice(q.span)) for q in symbol.params]


def doc(symbol: Symbol) -> str:
    """The ``##`` comment of a declaration."""
    return getattr(symbol.declared.node, "doc", "")


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 100 else f"{text[:97]}…"
