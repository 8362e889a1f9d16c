"""`python -m fastsoftmax`: the command, nothing else."""

import sys

from fastsoftmax.cli import main

sys.exit(main())
