//! Plans against the definition of what they answer: the first row that a point is in.

mod families;
mod made;
mod sets;
mod strategies;
