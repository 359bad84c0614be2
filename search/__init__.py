"""A query to hits: candidates by dense and sparse, scored exactly by all three."""
