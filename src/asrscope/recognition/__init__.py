"""The text of recordings of any length, and how often it is wrong."""
