"""What can go wrong in training. Imports nothing, so that whoever reports errors can name it."""


class TrainingError(Exception):
    """Training can't go on, or can't begin like this: one line that says why and what to do."""


class RecipeError(TrainingError):
    """The user asked for something that there isn't: a model, a preset, a setting, a folder."""
