"""Both models together: photo in, named pills out, unknown pills refused."""
