"""HCT-DMG: the model, its checkpoints, and what they need. Knows tensors; not video, Kafka or Ray."""
