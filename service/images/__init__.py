"""Images: fetch one into the store, read it from there, keep the store within its budget."""
