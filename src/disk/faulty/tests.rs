//! Tests of each piece of the model.
