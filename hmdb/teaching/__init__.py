"""Few-shot classifiers on frozen features: labelled clips -> features -> a linear head -> a checkpoint."""
