"""``python -m zcs_exporter``."""

import sys

from zcs_exporter.cli import main

sys.exit(main())
