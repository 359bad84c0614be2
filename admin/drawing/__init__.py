"""Figures, each drawn for a light and for a dark page. The only importer of matplotlib."""
