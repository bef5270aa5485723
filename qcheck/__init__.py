"""qcheck: does a provider serve the open-weight model it sells?"""

__version__ = "0.1.0"
__all__ = ["__version__"]
