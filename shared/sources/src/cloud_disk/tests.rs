//! Access that is renewed, refused and ended, on a service in memory.
