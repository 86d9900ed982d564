//! What the keys of a configuration mean together.
