"""`python -m facefact`, the same as the command `facefact`."""

import sys

from facefact.apps.cli import main

sys.exit(main())
