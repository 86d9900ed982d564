use super::*;
use crate::net::gate::Machine;
use crate::node::link::End;
use crate::node::users::{Salted, WampCra};

const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$PLACEHOLDER";

fn hello(details: &str) -> String {
    format!(r#"[1,"realm1",{{"roles":{{"caller":{{}}}},{details}}}]"#)
}

#[test]
fn welcome_tells_who_one_is_and_what_the_broker_can_do() {
    let world = World::new();
    let mut client = world.connect();
    client.check(
        r#"[1,"realm1",{"roles":{"caller":{}}}]"#,
        &[concat!(
            r#"[2,*,{"realm":"realm1","authid":"anonymous","authrole":"anonymous","authmethod":"anonymous","#,
            r#""authprovider":"static","agent":"fennec-"#,
            env!("CARGO_PKG_VERSION"),
            r#"","roles":{"broker":{"features":{"event_retention":true,"pattern_based_subscription":true,"#,
            r#""publisher_exclusion":true,"publisher_identification":true,"subscriber_blackwhite_listing":true}},"#,
            r#""dealer":{"features":{"call_canceling":true,"call_timeout":true,"caller_identification":true,"#,
            r#""pattern_based_registration":true,"progressive_call_results":true,"registration_revocation":true,"#,
            r#""shared_registration":true}}}}]"#
        )],
    );
}

#[test]
fn session_ids_differ() {
    let world = World::new();
    assert_ne!(world.join().session, world.join().session);
}
