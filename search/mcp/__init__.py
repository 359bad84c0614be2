"""Searching for agents: tools over the Model Context Protocol, by HTTP at `/mcp` and by stdio.

Only `server.py`, `exchange.py` and `stdio.py` import the package `mcp`, which is an extra.
"""
