//! From the final dot to the commit.
