//! Judges mail: facts in, decision out. Pure; what it wants to know of the world it asks through traits of its own.

pub mod admission;
pub mod decide;
pub mod verify;
