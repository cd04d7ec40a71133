"""Stage validate: check every row, read every photo once, write what the trainings read."""
