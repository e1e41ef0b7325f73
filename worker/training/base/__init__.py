"""The embedded base `tiny`: how it is built and trained."""
