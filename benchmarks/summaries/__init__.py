"""How good summaries are: those made offline and a model's, held against what a person wrote (docs/summaries.md)."""

from pathlib import Path
from typing import Final

TEXTS: Final = Path(__file__).parent / "texts"
