"""How good the recogniser is on a user's own photos."""
