"""A section's chapter, and what it says, beside the artefacts that it should say it from."""

from __future__ import annotations

import json

from xrec.plugins import factory
from xrec.report.section import Chapter, Terms, Text
from xrec.runs.run import Run


def rendered(name: str, finished: Run) -> Chapter:
    chapter: Chapter = factory("section", name)().render(finished)
    return chapter


def blocks(chapter: Chapter, kind: type) -> list:
    return [block for block in chapter.blocks if isinstance(block, kind)]


def artefact(finished: Run, name: str):
    return json.loads((finished.folder / name).read_text())


def words(chapter: Chapter) -> str:
    """All that the chapter's paragraphs and terms say."""
    texts = [block.text for block in blocks(chapter, Text)]
    pairs = [f"{term}: {said}" for block in blocks(chapter, Terms) for term, said in block.pairs]
    return " ".join([*texts, *pairs])
