"""Train the bundled model from zero: encoder on speech, decoder on text, then the projector between them."""
