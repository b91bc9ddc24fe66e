"""The command line: options made from the configs' own fields."""
