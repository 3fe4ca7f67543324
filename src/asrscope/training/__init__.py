"""Train a projector between an encoder and a decoder that stay frozen."""
