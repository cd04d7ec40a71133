"""`pillsnap serve`: pictures over HTTP, named pills back."""
