"""What goes on inside the model: questions that are put to it, and what its answers mean."""
