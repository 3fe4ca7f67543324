"""How the bundled model is made from zero: sentences, speech, encoder, decoder, projector, card, studies."""
