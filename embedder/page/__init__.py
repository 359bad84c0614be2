"""The page for people at `/`: what the model makes of their texts. Gradio draws it, an extra."""

from embedder.page.door import install, is_file, is_open

__all__ = ["install", "is_file", "is_open"]
