//! Every limit, with its default, its unit and what happens when it is reached.
