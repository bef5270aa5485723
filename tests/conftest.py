"""Signals as at a terminal: where SIGINT is ignored (a job in the background), children would inherit that."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
