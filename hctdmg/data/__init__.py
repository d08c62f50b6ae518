"""Readers of the field's data sets, all into one `Dataset`.

Needs the extra `train` for MFN's files. Knows files and arrays. Does not know models.
"""
