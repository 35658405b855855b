//! The KV cache: keys and values of the tokens so far.
