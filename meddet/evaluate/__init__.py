"""From detections to named numbers."""
