//! Tests of the stores against real servers.
