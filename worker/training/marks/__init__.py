"""Makes the network that detects visible watermarks added by a model."""
