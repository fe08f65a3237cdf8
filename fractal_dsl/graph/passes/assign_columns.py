"""Number the columns, mark the nodes of each, and name the nodes."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec.structs import replace

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Node, Site
from fractal_dsl.program.columns import Label, choose_operands, column_order

# attributes of torch.nn.Module, torch.fx.GraphModule and FractalModule, which no submodule may shadow (a test compares)
RESERVED = frozenset(
    "T_destination add_module add_submodule append apply bfloat16 buffers call_super_init children clear code "
    "compile cpu cuda delete_all_unused_submodules delete_submodule double dump_patches eval extend extra_repr "
    "float forward get_buffer get_extra_state get_parameter get_submodule graph half insert ipu items keys "
    "load_state_dict meta modules mtia named_buffers named_children named_modules named_parameters parameters pop "
    "print_readable recompile register_backward_hook register_buffer register_forward_hook "
    "register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook "
    "register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter "
    "register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule "
    "share_memory state_dict to to_empty to_folder train training type update values xpu zero_grad "
    "checkpoint column column_plan dense draws drop_path extract full_plan input inputs join_graph keep_modules live "
    "modules_now n_columns output outputs plan plans run run_part run_together seed shape_env step".split()
)


def assign_columns(graph: JoinGraph, columns: Sequence[Label]) -> JoinGraph:
    """A new graph with ``columns``, shallow to deep, and with the names and columns of nodes and the choices of joins.

    Before::                                    After::

        %2 = conv2d(…) %1                           %2 = conv2d(…) %1  # block1.column3.conv1.conv2d
        %6 = join mean of F levels 1 2 3 %3 %4 %2   %6 = …  # block1.join2, choice (2, 1, 0)

    A node is in column k if column k's path through the net needs it. Columns are those of the paper, section 3.
    """
    choices = _choices(graph, columns)
    everything = (1 << max(1, len(columns))) - 1
    masks = _masks(graph, choices, everything)
    result = graph.without_nodes("labelled")
    result.columns = tuple(columns)
    named: list[tuple[int, Node, Sequence[int]]] = []
    names = _Names(everything)
    for number, node in graph.items():
        mask = masks[number]
        match node:
            case Layer():
                name = names.layer(node.site, _plain(node.spec.name), mask)
                module = names.module(node.site, name)
                node = Layer(node.spec, node.args, node.into, node.out, node.site, name, mask, module)
            case Join():
                name = names.join(node.site, "join" if node.of_columns else _plain(node.spec.name))
                module = names.module(node.site, name)
                node = replace(node, columns=mask, name=name, choice=choices.get(number, ()), module=module)
            case _:
                pass
        named.append((number, node, graph.operands(number)))
    result.extend(named)
    return result


def _choices(graph: JoinGraph, columns: Sequence[Label]) -> dict[int, tuple[int, ...]]:
    """For each join of a rule, the operand that each column takes."""
    labels = {number: [label for label in join.labels if label is not None] for number, join in graph.joins()}
    order = column_order(label for operands in labels.values() for label in operands)
    places = [order.index(label) for label in columns]
    choices: dict[int, tuple[int, ...]] = {}
    for number, operands in labels.items():
        chosen = choose_operands(operands, order)
        choices[number] = tuple([chosen[i] for i in places])
    return choices


def _masks(graph: JoinGraph, choices: Mapping[int, Sequence[int]], everything: int) -> dict[int, int]:
    """The columns that each node is in, as a bit mask: those whose path to the output leads through it."""
    masks = dict.fromkeys(graph.g.nodes, 0)
    masks[graph.output[0]] = everything
    for number in reversed(graph.reads):
        operands = graph.operands(number)
        if number in choices:
            for k, chosen in enumerate(choices[number]):
                masks[operands[chosen]] |= masks[number] & (1 << k)
        else:
            for operand in operands:
                masks[operand] |= masks[number]
    return masks


class _Names:
    """Dotted names that tell block, column and position: ``block1.column3.conv2.batchnorm2d``."""

    def __init__(self, everything: int) -> None:
        self.everything = everything
        self.used: Counter[tuple[str, str]] = Counter()
        self.taken: set[str] = set()
        self.groups: dict[int, str] = {}
        self.shared: dict[int, str] = {}
        self.modules: dict[tuple[int, int], str] = {}

    def _block(self, site: Site) -> str:
        """The prefix of the block that a node is in, after the calls of user layers around the block."""
        prefix = ""
        for name, id in site.outer:
            prefix = self._group(prefix, name, id, always=False)
        return f"{prefix}block{site.block}." if site.block else prefix

    def _column(self, mask: int) -> str:
        if self.everything == 1:
            return "column1."
        return "" if mask in (0, self.everything) else f"column{(mask & -mask).bit_length()}."

    def _numbered(self, parent: str, name: str, always: bool) -> str:
        name = mangle(name)
        while True:  # a user's own `conv_2` may be there already
            self.used[parent, name] += 1
            count = self.used[parent, name]
            if always:
                result = f"{parent}{name}{'_' if name[-1].isdigit() else ''}{count}"
            else:
                result = f"{parent}{name}" if count == 1 else f"{parent}{name}_{count}"
            if result not in self.taken:
                self.taken.add(result)
                return result

    def _group(self, prefix: str, name: str, id: int, *, always: bool) -> str:
        if id not in self.groups:
            self.groups[id] = self._numbered(prefix, name, always=always) + "."
        return self.groups[id]

    def _inside(self, site: Site, prefix: str) -> str:
        """The prefix within the calls of user layers around a node."""
        for name, id in site.groups:
            prefix = self._group(prefix, name, id, always=bool(site.block))
        return prefix

    def module(self, site: Site, name: str) -> str:
        """The path of a node's weights. In a shared block it begins with the block's own name."""
        if site.shared is None:
            return name
        key = (site.shared.number, site.shared.place)
        if key not in self.modules:
            self.modules[key] = self.shared[site.shared.number] + name.removeprefix(self.groups[site.shared.group])
        return self.modules[key]

    def _reserve(self, site: Site) -> None:
        """Take the name of a shared block before its uses can take it."""
        if site.shared is not None and site.shared.number not in self.shared:
            self.shared[site.shared.number] = self._numbered("", site.shared.name, always=False) + "."

    def layer(self, site: Site, op: str, mask: int) -> str:
        self._reserve(site)
        prefix = self._block(site) + (self._column(mask) if site.block else "")
        return self._numbered(self._inside(site, prefix), op, always=False)

    def join(self, site: Site, name: str) -> str:
        self._reserve(site)
        return self._numbered(self._inside(site, self._block(site)), name, always=name == "join")


def _plain(op: str) -> str:
    """A layer's name as that of a submodule: ``nn.Hardtanh`` is ``hardtanh``."""
    return op.removeprefix("nn.").lower() if op.startswith("nn.") else op.removeprefix("extern ")


@lru_cache(10_000)
def mangle(name: str) -> str:
    """A name that is safe as a submodule's: an ASCII identifier, no keyword, no attribute of a module, no `block1`."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", name)
    if name.startswith("_"):
        name = "layer" + name
    if name in RESERVED or keyword.iskeyword(name) or re.fullmatch(r"(block|column)\d+", name):
        name += "_"
    return name
