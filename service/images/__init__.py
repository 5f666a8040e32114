"""The image store: fetch into it, read from it, keep it within its budget."""
