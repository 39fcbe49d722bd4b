"""Running a study: what it costs, its two phases, and what is left."""
