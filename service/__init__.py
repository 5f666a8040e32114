"""All enhanced images of an Autoenhance.ai order as one streamed ZIP."""

__version__ = "0.1.0"
