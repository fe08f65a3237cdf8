"""Reads nets of PyTorch back into the language.

In: a module and an example, or the name of a net. Out: its text, and the net of the text with the module's weights.
Not imported here: ``tasks`` and above.

Refused are control flow that depends on values, hooks, weights of which operations share a part, and what the language
lacks. A text is returned only if both nets compute the same.

    capturing     capture          a module -> an fx graph, by symbolic trace, else by torch.export (transformers)
    lowering      lowering         an fx graph -> a plain graph of layers and joins (modules, functions, weighted)
    naming ends   ends             names of inputs and outputs; what a module returns (returning)
    rewriting     rewriting        a plain graph -> one that is nested series and parallel parts
    decomposing   graph_to_term    a plain graph -> a term, by dominators
    structuring   graph_to_page    a term -> a page: shared blocks, rules, layers, repetitions
    writing       page_to_text     a page -> text
    comparing     same             weights copied, outputs compared
    rehearsing    modes            what training and other batch sizes change (rehearsal)
"""

from fractal_dsl.importing.reading import Imported, from_torch, read
from fractal_dsl.importing.refusal import Refusal

__all__ = ["Imported", "Refusal", "from_torch", "read"]
