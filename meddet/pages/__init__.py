"""Pages for people: one file each, which opens anywhere, loads nothing and calls nobody."""
