"""Stage validate: check every row, read every photo once, write the pictures for training."""
