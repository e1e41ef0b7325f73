"""The embedded enlarger: how it is built, taught and trained."""
