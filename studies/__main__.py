"""`python -m studies` is `python -m studies.run`."""

import sys

from studies.run import run

sys.exit(run())
