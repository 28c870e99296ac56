//! Doubles of Azure's services, as strict as what Azure publishes about them.

pub mod arm;
