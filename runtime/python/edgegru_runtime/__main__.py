"""The device's command line, ``python -m edgegru_runtime``."""

import sys

from edgegru_runtime.command_line import main

sys.exit(main())
