//! (to be replaced: signatures for the record module)
