"""What can be wrong with a data set. Imports nothing, so that whoever reports errors can name it."""


class DataError(Exception):
    """A data set that can't be used: one line that says what is wrong, where, and what to do."""
