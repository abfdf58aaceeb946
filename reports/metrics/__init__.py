"""A run's figures: which metrics there are, and their values by case and round."""
