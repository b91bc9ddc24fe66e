"""Examples small enough to see every number, for the Learn page: each computed by the functions that prune real models."""
