"""Candidates: what Milvus holds and how it is asked, embedded or a server."""
