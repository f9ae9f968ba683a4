"""Whether new studies still look like those that the model was trained on: numbers only, no pixels, nobody named."""
