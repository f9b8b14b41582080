"""The shrinker: a smaller file of a given size, with the loss measured."""
