"""What `SequenceModel` is made of: labelled sequences, k-mers, networks, and how much each of them counts."""
