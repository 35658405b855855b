//! The Phi models: what differs between them is data ([`config::Config`], [`names`]); the transformer is written once.

pub mod cache;
pub mod check;
pub mod config;
pub mod decode;
pub mod forward;
pub mod model;
pub mod names;
pub mod sample;
pub mod synthetic;
