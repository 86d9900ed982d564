use super::*;

#[test]
fn an_event_reaches_its_subscriber() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"com.topic"]"#, &["[33,1,1]"]);
    publisher.check(r#"[16,1,{},"com.topic",["a",1.50],{"k":null}]"#, &[]);
    subscriber.expect(&[r#"[36,1,*,{},["a",1.50],{"k":null}]"#]);
}
