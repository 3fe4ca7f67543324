"""A run of one clip: what is watched while it runs, and what is kept of it."""
