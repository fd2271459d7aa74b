"""Lean: objects of pandas that cost a fraction of pandas' own until a function asks for more than reading them."""
