"""Queries with judgments: where they come from, and sheets for people to make them."""
