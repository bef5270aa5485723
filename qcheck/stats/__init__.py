"""Pure numpy/scipy statistics; imports nothing of qcheck but its errors."""
