//! `rookery` as its users meet it: a process, its HTTP API, its command line.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

mod canary;
mod commands;
mod dead_letters;
mod documentation;
mod edges;
mod erasure;
mod front;
mod graph;
mod groups;
mod imports;
mod outbox;
mod process;
mod traces;
mod walk;
mod world;
