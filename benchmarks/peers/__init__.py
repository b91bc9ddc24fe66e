"""The same work by other programs, each in an environment of its own; see ``__main__``."""
