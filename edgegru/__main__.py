"""``python -m edgegru`` is ``edgegru``."""

import sys

from edgegru.command_line import main

sys.exit(main())
