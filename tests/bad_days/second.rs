//! Two brokers and one store.

use std::sync::PoisonError;

use crate::broker::{Broker, Refused, text};
use crate::{SERVER, postgres};

fn check(store: &str, name: &str) {
    let broker = Broker::start(store);
    let Refused { code, said } = Broker::refused(store, "");
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(
        said.starts_with("fennec: cannot open the store: in use by another broker: ") && said.contains(name),
        "{said}"
    );
    assert_eq!(broker.get("/readyz"), (200, "ready\n".to_owned()), "the first has not noticed");
    assert!(!broker.connect("publisher", 0).publish("d/x", b"x").is_error());
    // However it ends, the next may have the store.
    broker.kill();
    assert!(Broker::start(store).stop().success());
}

#[test]
fn a_second_broker_on_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    check(text(folder.path()), text(folder.path()));
}

#[test]
fn a_second_broker_on_a_schema_is_refused() {
    let _alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(url) = postgres::store_url() {
        check(&url, "schema");
    }
}
