//! Tree to tree.
use super::names::Names;
use super::tree::Table;
use crate::ir::Block;
pub(super) fn run(_table: &mut Table, _names: &mut Names, _blocks: &[Block]) {}
