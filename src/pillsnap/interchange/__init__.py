"""Training pictures and evaluated frames in the forms of other people's tools."""
