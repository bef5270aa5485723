"""A run: its plan, its journal, and its execution as a stream of events."""
