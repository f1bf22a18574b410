"""Assets by group, in the order of the graph."""
