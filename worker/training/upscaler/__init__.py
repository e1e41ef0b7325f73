"""The embedded enlarger: how it is built and trained."""
