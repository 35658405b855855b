//! The Phi-3 transformer, once, generic over the backend.
