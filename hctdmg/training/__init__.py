"""Training, metrics and calibration, for any data: batches come in, weights and a calibration come out.

Needs the extra `train`. Knows no text, sound or picture.
"""
