"""The package's version; ``setup.py`` and the files the package writes read it from here."""

__version__ = "0.1.0"
