//! user-profile
