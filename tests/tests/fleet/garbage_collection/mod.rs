//! `cleanup --chunks` deletes no chunk that is in use: over random fleets, jobs and configurations, and whatever fails or
//! happens while it runs.

mod case;
mod fleets;
mod interference;
mod random;
mod scene;
