//! Tests against the live kernel. Each makes the namespaces it needs, so that all can run at
//! once.

mod apply;
mod clsact;
mod fail;
mod host;
mod lab;
mod log;
mod object;
mod programs;
mod reload;
mod remove;
mod stages;
mod status;
mod support;
mod surroundings;
mod tproxy;
mod watch;
