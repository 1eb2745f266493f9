"""golf: the best language model that fits in a byte cap, and the proof of it."""

__version__ = "0.1.0"
