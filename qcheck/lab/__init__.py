"""Real local engines, variants and a routing gateway: the test bed that ships with qcheck."""
