//! Text in the native build: ids in and out of strings, and the chat template.
