//! Dead letters that are stale are deleted. Those of operations that have failed are kept.

use std::time::Duration;

use goldfleet_dispatcher::control::dead_letters::{DeadLetters, StaleLetters, examine};
use goldfleet_model::message::{Message, QueueName};
use goldfleet_tests::fleet::InProcessFleet;

/// Two targets fail, and one of them is retried with success. Its letter is gone, the other one is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_deletes_the_letters_of_what_it_retries() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let broken = ["stage2westeurope", "stage2eastus"];
    broken.iter().for_each(|path| fleet.block_path(path));
    let (job, _) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    let control = fleet.control_with_own_ports();
    let depth = async || fleet.ports.queue.depth(QueueName::DeadLetter).await.unwrap();
    let failed = |count| DeadLetters { failed: [(job.clone(), count)].into(), ..DeadLetters::default() };
    for stale in [StaleLetters::Keep, StaleLetters::Delete] {
        assert_eq!((examine(&control.ports, stale).await.unwrap(), depth().await), (failed(2), 2), "{stale:?}");
    }

    fleet.unblock_path(broken[0]);
    fleet.retry(&job).await;
    assert_eq!(depth().await, 0, "both are ready again");
    fleet.run(&fleet.ports, 1, &job).await;
    assert_eq!(examine(&control.ports, StaleLetters::Keep).await.unwrap(), failed(1));
    fleet.unblock_path(broken[1]);
    // Without its letter, which somebody else may have deleted.
    fleet.drain_dead_letters().await;
    fleet.retry_and_run(&job).await;
}

/// Letters of operations that do not exist any more are stale. What cannot be read is kept for people.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_letters_are_kept_and_letters_of_removed_jobs_are_not() {
    let fleet = InProcessFleet::new();
    let queue = &fleet.ports.queue;
    let removed = Message::operation(&"20261121-041502-7f3a".parse().unwrap(), &"a-0123456789ab.copy".parse().unwrap());
    let job = Message::job(&"20261121-041502-7f3a".parse().unwrap());
    for body in [removed.encode(), job.encode(), "no message".to_owned()] {
        queue.send(QueueName::DeadLetter, &body, Duration::ZERO).await.unwrap();
    }
    let control = fleet.control_with_own_ports();
    let found = DeadLetters { stale: 1, unreadable: 2, ..DeadLetters::default() };
    for stale in [StaleLetters::Keep, StaleLetters::Delete] {
        assert_eq!(examine(&control.ports, stale).await.unwrap(), found, "{stale:?}");
    }
    assert_eq!(examine(&control.ports, StaleLetters::Delete).await.unwrap(), DeadLetters { stale: 0, ..found });
    assert_eq!(fleet.drain_dead_letters().await, 2);
}
