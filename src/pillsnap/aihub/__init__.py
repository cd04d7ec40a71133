"""AI Hub's data set 576 on disk: its tree, its labels, its fingerprint."""
