"""The search page at `/`, for people: HTML, CSS and ES modules as they are, without a build."""

from search.page.door import is_file, is_open, routes

__all__ = ["is_file", "is_open", "routes"]
