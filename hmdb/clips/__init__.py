"""Number of frames -> virtual frames -> clip."""
