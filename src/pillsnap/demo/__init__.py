"""A synthetic AI Hub tree: rendered photos of invented pills, in AI Hub's format."""
