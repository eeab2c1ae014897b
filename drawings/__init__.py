"""Drawn clips for the page's examples, and the program that draws them."""
