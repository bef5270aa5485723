"""Signals as at a terminal: where SIGINT is ignored (a job in the background), children would inherit that.

Hypothesis takes its time on slow machines, and fewer examples than usual where a test does not say how many.
"""

import signal

from hypothesis import settings

signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("usual", max_examples=50, deadline=None)
settings.load_profile("usual")
