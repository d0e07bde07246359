"""What is measured on tensors: retrieval, image differences, named attributes, and how sure one can be of each figure."""
