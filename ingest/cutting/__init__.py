"""A document into passages: by tokens, sentences and headings."""
