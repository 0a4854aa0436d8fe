"""``python -m shmperf`` is the command ``shmperf``."""

import sys

from .commands.main import main

sys.exit(main())
