//! What goldfleet is about, apart from its programs: the domain, its ports, and every adapter behind them.
//!
//! - [`model`]: the words, as plain types; [`state`]: the transition functions.
//! - [`plan`]: which store fills which; [`rates`]: the prices, limits and times of plans and of the modelled cloud.
//! - [`ports`]: what goldfleet asks of the world, as traits; [`commit`]: commits whose answer may get lost; [`retry`]: asking
//!   again; [`governor`]: how many requests are in flight.
//! - [`vhd`], [`chunk`]: from a disk image to chunks; [`chunk_store`]: chunks in a store; [`ranges`]: of bytes.
//! - [`config`], [`targets`], [`telemetry`]: what an operator sets; [`backend`] chooses the adapters.
//! - [`chance`]: what is left to chance.
//! - [`screen`]: lines above what is drawn on a terminal; [`causes`]: an error in one line;
//!   [`words`]: numbers in sentences.
//! - [`azure`]: the ports on Azure; [`embedded`]: on one machine; [`modelled`]: on a cloud that stores no bytes, for rehearsals;
//!   [`conformance`]: one suite a port, which every adapter passes.

mod as_text;
pub mod azure;
pub mod backend;
pub mod causes;
pub mod chance;
pub mod chunk;
pub mod chunk_store;
pub mod commit;
pub mod config;
pub mod conformance;
pub mod embedded;
mod file_lock;
pub mod governor;
pub mod model;
pub mod modelled;
mod otlp;
pub mod plan;
pub mod ports;
pub mod ranges;
pub mod rates;
pub mod retry;
pub mod screen;
mod sparse;
pub mod state;
pub mod targets;
pub mod telemetry;
pub mod vhd;
pub mod words;
