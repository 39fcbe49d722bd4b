"""From Inspect logs to numbers, figures and a report; no model, no network."""
