"""AI Hub's data set 576 on disk: file tree and labels."""
