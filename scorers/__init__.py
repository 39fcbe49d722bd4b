"""Reading a reply into an option, and scoring it."""
