"""Images, annotations and tables: from a scanner's files to tensors."""
