"""How good retrieval is: collections with judgments, metrics, runs through the real service."""
