"""One module per observable; each folds answers into evidence."""
