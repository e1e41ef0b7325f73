"""Guards on what goes in and comes out: built by loading.py, put together in panel.py."""
