//! `cleanup --chunks` deletes no chunk that is in use: with random fleets, jobs and configurations, and with faults and
//! other activity during the collection.

mod case;
mod fleets;
mod interference;
mod random;
mod scene;
