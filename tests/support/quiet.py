"""For child processes alone, where crashes are what is wanted: they log nothing."""

import logging

logging.getLogger("stepwell").setLevel(logging.CRITICAL)
