"""One run: what is new is cut, embedded and written at once, in bounded memory."""
