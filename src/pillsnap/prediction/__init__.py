"""A trained recogniser on a user's pictures, and drugs enrolled without training."""
