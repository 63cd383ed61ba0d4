//! Transcripts, and a comparison with a model that walks everything it ever saw.
