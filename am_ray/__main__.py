"""``python -m am_ray``: the same as ``am-ray``."""

import sys

from am_ray.cli.main import main

sys.exit(main())
