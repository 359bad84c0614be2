"""The truth: one row a chunk, in Lance."""
