"""`python -m observability_checks`: the same as `python test_observability.py` inside the virtual environment."""

import sys

from observability_checks.cli import main

sys.exit(main())
