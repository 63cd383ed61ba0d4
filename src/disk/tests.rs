//! One conformance test for both disks.
