"""Retrievers for other frameworks, over the client; each file imports its framework alone."""
