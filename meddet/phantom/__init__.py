"""The synthetic CDH-1848: images and annotations without patients."""
