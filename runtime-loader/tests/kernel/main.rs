//! Tests against the live kernel. Each makes the namespaces it needs, so that all can run at
//! once.

mod apply;
mod fail;
mod lab;
mod reload;
mod remove;
mod status;
mod support;
mod tproxy;
