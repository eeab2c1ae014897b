"""A checkpoint -> a network that answers, and what it was trained to be given."""
