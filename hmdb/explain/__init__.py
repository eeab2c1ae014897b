"""What an answer rests on, and whether that can be believed."""
