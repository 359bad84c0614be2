"""Tokens in, the three representations out: ours in several arithmetics, and the reference."""
