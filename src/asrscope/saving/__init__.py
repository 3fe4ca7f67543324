"""Keep files and models: written in one step, with where each weight comes from, and ready for others."""
