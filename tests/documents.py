"""What stands in documents for machines: blocks of a language."""

import re


def fenced(text: str, language: str) -> list[str]:
    """Return the blocks of one language in a document."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block.strip() for block in blocks]
