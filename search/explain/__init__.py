"""Why a hit scores what it scores, down to its tokens and where they are in its text."""
