"""Records of documents: what is known of each, apart from its bytes."""
