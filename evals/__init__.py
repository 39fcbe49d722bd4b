"""Questions, tasks, stand-in models and the study that runs them."""
