"""What is measured on tensors and arrays: retrieval, picture error, named attributes, and how sure a figure is."""
