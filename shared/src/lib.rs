//! goldfleet
