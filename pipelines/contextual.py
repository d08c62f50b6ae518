"""Contextual word vectors of a Hugging Face encoder that lies in a local folder. Knows words; downloads nothing.

Only for the experiment that compares them with static ones: the worker's own text features are `pipelines.text`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipelines.errors import ConfigError
from pipelines.features import FloatArray

CONFIG = "config.json"


class ContextualEncoder:
    """An encoder, loaded; its weights stay as they are.

    Args:
        folder: Holds config.json, safetensors and a tokenizer, as `save_pretrained` writes them.

    Raises:
        ConfigError: The folder holds no encoder, or the package for it is missing.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / CONFIG).is_file():
            raise ConfigError(f"{folder}: holds no {CONFIG}: give the folder of a Hugging Face encoder")
        try:
            from transformers import AutoModel, AutoTokenizer, logging  # late: an extra, and slow to import
        except ImportError:
            raise ConfigError("transformers is not installed: pip install 'hctdmg[contextual]'") from None
        logging.disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
            self._model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).eval()
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"{folder}: holds no encoder that can be loaded ({first})") from None
        self.width = int(self._model.config.hidden_size)

    def word_vectors(self, words: Sequence[str]) -> FloatArray:
        """(T, width): each word in the context of all, as the mean of its pieces' last hidden states."""
        pieces = self._tokenizer(list(words), is_split_into_words=True, return_tensors="pt", truncation=True)
        with torch.inference_mode():
            hidden_PD = self._model(**pieces).last_hidden_state[0].float().numpy()
        vectors_TD = np.zeros((len(words), self.width), np.float32)
        owners = pieces.word_ids(0)
        for word in range(len(words)):
            chosen = [place for place, owner in enumerate(owners) if owner == word]
            if chosen:
                vectors_TD[word] = hidden_PD[chosen].mean(axis=0)
        return vectors_TD
