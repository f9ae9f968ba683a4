"""From a hospital's studies and annotations to a data folder, and back out."""
