"""A checkpoint in other programs' formats. Needs the extra `export`."""
