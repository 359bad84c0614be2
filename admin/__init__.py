"""What the notebooks call: collections managed, queries looked at, figures drawn.

A notebook says what for and shows; what it shows comes from here.
"""
