"""PyTorch as an engine of the lab: HTTP in the dialect of llama.cpp's server; `python -m qcheck.lab.torch_engine`."""
