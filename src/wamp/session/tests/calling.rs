use super::*;

#[test]
fn a_call_is_answered_by_its_callee() {
    let world = World::new();
    let (mut caller, mut callee) = (world.join(), world.join());
    callee.check(r#"[64,1,{},"com.add"]"#, &["[65,1,1]"]);
    caller.check(r#"[48,7,{},"com.add",[1,2]]"#, &[]);
    callee.check("[]", &[]);
}
