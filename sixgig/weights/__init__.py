"""A model's weights by rows, as they are stored or with a cut applied."""
