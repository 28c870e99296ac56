//! What is inside a disk: volumes, file systems, boot chain, operating system, and the checks of them.
