"""Raw scores of a collection's queries: collected once, kept, ranked by any method and weights."""
