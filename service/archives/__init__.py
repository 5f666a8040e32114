"""Archives: lists of stored images, and every byte of the ZIP that such a list stands for."""
