//! Notifications against real servers on loopback: what arrives, and what is told of what does not.
