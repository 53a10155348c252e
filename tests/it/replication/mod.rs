//! What the next leader knows: who is online, who is registered, and what a cold start remembers.

mod cold;
mod takeover;
