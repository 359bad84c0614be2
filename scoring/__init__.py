"""The three scores and their fusion."""
