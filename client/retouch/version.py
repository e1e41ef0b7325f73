"""The version of everything in this repository; both distributions read it from here."""

__version__ = "0.1.0"
