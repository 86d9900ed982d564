//! Subscribers that go on where they were, by every way there is.
