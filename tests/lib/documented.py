"""Runs the code in the documents, so that readers can copy it."""

import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def snippet(document: str, language: str, word: str) -> str:
    """Returns the block of code in that language which contains the word."""
    text = (DOCS / document).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if word in block]
    return found


def python(document: str, word: str) -> dict:
    """Runs a block of Python, and returns the names that it defines."""
    names: dict = {}
    exec(snippet(document, "python", word), names)  # pylint: disable=exec-used
    return names
