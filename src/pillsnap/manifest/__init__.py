"""Stage build_manifest: choose classes and photos, split them, write one row per pill."""
