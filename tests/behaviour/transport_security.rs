//! Rows of the specification.
