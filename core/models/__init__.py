"""Language models: where they come from, and how their blocks are found and run."""
