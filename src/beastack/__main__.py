"""``python -m beastack`` is the command line."""

import sys

from beastack.cli.main import main

sys.exit(main())
