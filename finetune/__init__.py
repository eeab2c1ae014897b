"""Makes the checkpoints that hmdb answers with."""
