"""Training data made by a command: sentences, synthetic speech, cached features, augmentation."""
