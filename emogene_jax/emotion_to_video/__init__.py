"""Landmarks and head poses -> frames: head field, torso field, volume rendering."""
