"""Variational autoencoders, theory and implementations: the library behind the executable chapter."""

__version__ = "0.1.0"
