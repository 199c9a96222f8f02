"""How many inputs a run has: few by default, as many as FUZZ_INPUTS says in the long form."""

import os
from typing import Final

LONG: Final = "FUZZ_INPUTS" in os.environ
INPUTS: Final = int(os.environ.get("FUZZ_INPUTS", "1000"))
