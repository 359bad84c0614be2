"""Where representations live: a Lance table as the truth, Milvus as an index over it."""
