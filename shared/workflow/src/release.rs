//! The operations of a group that wait for another one of it.

use goldfleet_model::operation::{Failure, Kind, Operation, OperationState};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::Versioned;
use goldfleet_ports::commit::Commit;
use jiff::Timestamp;

/// The code of an image whose copy failed.
pub const COPY_FAILED: &str = "copy-failed";

/// The failure of an image whose copy failed.
#[must_use]
pub fn copy_failed(at: Timestamp) -> Failure {
    let message = "the copy to this target failed".to_owned();
    Failure { code: COPY_FAILED.to_owned(), message, request_id: None, at }
}

/// Lets the image of a group begin that waits for its copy, in the commit that the copy succeeds with.
pub fn release_image(group: &[Versioned<Operation>], now: Timestamp, who: &str, commit: &mut Commit) {
    for row in waiting_images(group) {
        let mut image = Operation { queued: Some(now), ..row.value.clone() };
        if let Ok(event) = image.apply(OperationEvent::Release, now, who) {
            commit.push(row, image, [event]);
        }
    }
}

/// Ends the image of a group that waits for its copy, in the commit that the copy fails with: there will be nothing to make
/// it from.
pub fn block_image(group: &[Versioned<Operation>], now: Timestamp, who: &str, commit: &mut Commit) {
    for row in waiting_images(group) {
        let mut image = row.value.clone();
        if let Ok(event) = image.apply(OperationEvent::Block(copy_failed(now)), now, who) {
            commit.push(row, image, [event]);
        }
    }
}

fn waiting_images(group: &[Versioned<Operation>]) -> impl Iterator<Item = &Versioned<Operation>> {
    group.iter().filter(|row| row.value.id.kind() == Kind::Image && row.value.state == OperationState::Waiting)
}
