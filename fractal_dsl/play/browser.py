"""The session of a page without a server: the same answers, from Python in the browser."""

from __future__ import annotations

import json

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.play.answers import answer
from fractal_dsl.play.asked import spec_text
from fractal_dsl.play.documents import Documents


class Session:
    """Answers questions, as JSON, with JSON. It has no files of the user, so nothing can be saved but by a download."""

    def __init__(self) -> None:
        self.documents = Documents(None)

    def ask(self, kind: str, question: str) -> str:
        """The answer to a question of one of ``answers.KINDS``, or to ``open``."""
        asked = json.loads(question)
        try:
            if kind == "open":
                return json.dumps(self.documents.opened(str(asked["document"])))
            return json.dumps(answer(kind, spec_text(self.documents, asked), asked))
        except FracError as error:
            return json.dumps({"error": error.diagnostics[0].message})
        except UserError as error:
            return json.dumps({"error": str(error)})
