"""A projector for the model `small`, random, as it is shipped trained."""
