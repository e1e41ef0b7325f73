"""Engines: what turns pixels into better pixels on one device."""
