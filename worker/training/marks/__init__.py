"""Makes the network that finds visible watermarks which a model has added."""
