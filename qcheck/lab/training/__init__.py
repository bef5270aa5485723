"""How the lab's models were made; needs the `train` extra, and nothing else needs it."""
