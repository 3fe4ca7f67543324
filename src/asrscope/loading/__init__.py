"""Find, check and load the parts of a model: from folders, the cache or the Hub."""
