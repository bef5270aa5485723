"""Providers and models as data, and their loader."""
