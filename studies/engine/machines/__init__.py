"""A study on several machines: what it needs of each, joining it, and the tasks of a cluster that do."""
