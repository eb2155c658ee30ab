"""README.md of an exported folder: the sizes, how to build it, how to call it."""

from __future__ import annotations

from edgegru_export.c_source import Words, input_type, output_type
from edgegru_export.c_text import comment_text
from edgegru_export.c_writer import CModel


def readme(model: CModel, words: Words, layout: str) -> str:
    """The page."""
    return ""
