"""Recordings of any length: read piece by piece, cut into windows, and their texts joined."""
