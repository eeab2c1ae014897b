"""Samples clips: number of frames -> virtual frames -> clip."""
