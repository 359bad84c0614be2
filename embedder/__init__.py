"""Text to embeddings: the node that computes the three representations, and its client."""
