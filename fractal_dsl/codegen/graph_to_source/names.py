"""Identifiers in ``model.py``. None may shadow a name of the generated code or have a meaning in Python."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata

PYTHON_KEYWORDS = frozenset({*keyword.kwlist, *keyword.softkwlist})
MODULE = frozenset({"nn", "torch", "Tensor", "OrderedDict", "import_module"})
"""Names that the module imports."""
CLASSES = PYTHON_KEYWORDS | MODULE | frozenset(dir(builtins))
"""Names that no class may have."""
PARAMETERS = PYTHON_KEYWORDS | MODULE | {"self", "super", "float"}
"""Names that no parameter of a constructor may have."""


def distinct(name: str, taken: set[str]) -> str:
    """The name, with a number appended if it is taken. Marks the result as taken."""
    result, count = name, 1
    while result in taken:
        count += 1
        result = f"{name}_{count}"
    taken.add(result)
    return result


def camel(name: str) -> str:
    """The class name for a layer's name: ``NormRelu`` for ``norm_relu``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "Layer"


def class_name(net: str) -> str:
    """The name of a net's class. Python normalizes identifiers to NFKC and mangles private ones in classes."""
    name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", net))
    return name if is_plain(name) and name not in CLASSES else f"Net_{name.strip('_')}"


def parameter_name(name: str, taken: set[str]) -> str:
    """The name of a constructor's parameter."""
    if not is_plain(name) or name in PARAMETERS:
        name = "argument_" + re.sub(r"\W", "_", name).strip("_")
    return distinct(name, taken)


def is_plain(name: str) -> bool:
    """Whether Python takes a name as an identifier, unchanged, anywhere."""
    written = name.isidentifier() and unicodedata.is_normalized("NFKC", name)
    return written and not name.startswith("_") and not keyword.iskeyword(name)
