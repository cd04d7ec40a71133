"""Makers of what tests read: projects, trees, pictures, models, answers."""
