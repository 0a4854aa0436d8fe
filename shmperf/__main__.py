"""``python -m shmperf`` is the command ``shmperf``."""

import sys

from .cli import main

sys.exit(main())
