"""What a family's declaration is made of: words, and groups of them that families share."""
