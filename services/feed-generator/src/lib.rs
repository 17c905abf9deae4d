//! feed-generator
