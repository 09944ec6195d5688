"""`make bench`: how fast the doors are, beside the limits that the database and the framework set."""
