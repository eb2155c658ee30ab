"""Models of other makers: a reader for each format gives layers, which become an artifact, checked against them."""
