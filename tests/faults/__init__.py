"""The fault table: what a user sees, how soon, and what is left, for each way in which things can go wrong."""
