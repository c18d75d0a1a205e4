"""`python -m obi_core` is `obi`."""

import sys

from obi_core.cli.main import main

sys.exit(main())
