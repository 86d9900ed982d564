//! Every rule of the numbering, the ancestor's own story, and many edges and centres that lose, restart and are restored.

mod landscape;
mod lanes;
mod lossy;
mod numbering;
mod pace;
mod receiving;
mod sender;
mod wire;
